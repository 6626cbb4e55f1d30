"""Writes and reads array_record files of records; imported only where records are packed or read.

Labels are a TFDS data set. JPEG pictures are in files beside it, one entry each, so that only the pictures of a clip
are read; a set without JPEG pictures has empty files. The description of the set is written after all shards.
"""

import contextlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source, array_record_module
from tensorflow_datasets.core import example_serializer, file_adapters, naming

from jaxhar.data.records.record import Fields, Record, VideoClip, stored
from jaxhar.host import files

_NAME, _VERSION, _SPLIT = "packed_sequences", "1.0.0", "sequences"
_PICTURES = "packed_pictures"
_FORMAT = file_adapters.FileFormat.ARRAY_RECORD


def features(fields: Fields) -> tfds.features.FeaturesDict:
    """TFDS features of the labels: all of `jaxhar.data.records.record.Record` except JPEG pictures."""
    f = tfds.features
    return f.FeaturesDict(
        {
            "name": f.Text(),
            "length": f.Scalar(np.int32),
            "size": f.Tensor(shape=(2,), dtype=np.int32),
            "video": f.Text(),
            "action": f.Scalar(np.int32),
            "subject": f.Scalar(np.int32),
            "view": f.Scalar(np.int32),
            **{name: f.Tensor(shape=field.shape, dtype=field.dtype) for name, field in fields.items()},
        }
    )


def shard(folder: Path, number: int, count: int) -> Path:
    """The file of a shard's labels under the folder of a set of `count` shards."""
    return Path(_template(folder).sharded_filepath(shard_index=number, num_shards=count))


def pictures_of(folder: Path, number: int, count: int) -> Path:
    """The file of a shard's JPEG pictures."""
    return folder / _PICTURES / shard(folder, number, count).name.replace(_NAME, _PICTURES)


def _template(folder: Path) -> naming.ShardedFileTemplate:
    return naming.ShardedFileTemplate(
        data_dir=folder / _NAME / _VERSION, dataset_name=_NAME, split=_SPLIT, filetype_suffix=_FORMAT.file_suffix
    )


def write_shard(labels: Path, pictures: Path, fields: Fields, records: Iterable[Record]) -> None:
    """Write records to a file of labels and a file of pictures. OSError if the disk is full."""
    form = features(fields)
    serializer = example_serializer.ExampleSerializer(form.get_serialized_info())

    def serialized() -> Iterator[tuple[int, bytes]]:
        for i, record in enumerate(records):
            for picture in stored(record.pictures):
                writer.write(picture)
            example = serializer.get_tf_example(form.encode_example(_example(record, fields)))
            yield i, example.SerializeToString(deterministic=True)  # otherwise the order of fields is random

    try:
        with contextlib.closing(
            array_record_module.ArrayRecordWriter(str(pictures), "group_size:1,uncompressed")
        ) as writer:
            file_adapters.ADAPTER_FOR_FORMAT[_FORMAT].write_examples(labels, serialized())
    except RuntimeError as error:  # array_record's error for a full disk
        raise OSError(str(error)) from error


def _example(record: Record, fields: Fields) -> dict[str, object]:
    return {
        "name": record.name,
        "length": record.length,
        "size": np.array(record.size or (0, 0), np.int32),
        # as text, so that seconds are exact
        "video": json.dumps(asdict(record.pictures)) if isinstance(record.pictures, VideoClip) else "",
        "action": record.action,
        "subject": record.subject,
        "view": record.view,
        **{name: np.asarray(record.fields[name], field.dtype) for name, field in fields.items()},
    }


def describe(folder: Path, fields: Fields, lengths: Sequence[int]) -> None:
    """Add the description that TFDS needs to a folder of shards.

    Args:
      fields: of every record. lengths: records in each shard, which may be 0.
    """
    template = _template(folder)
    files = [Path(template.sharded_filepath(shard_index=i, num_shards=len(lengths))) for i in range(len(lengths))]
    size = sum(path.stat().st_size for path in files)
    split = tfds.core.SplitInfo(name=_SPLIT, shard_lengths=list(lengths), num_bytes=size, filename_template=template)
    with contextlib.redirect_stdout(io.StringIO()):
        tfds.folder_dataset.write_metadata(
            data_dir=template.data_dir,
            features=features(fields),
            split_infos=[split],
            filename_template=template,
            check_data=False,  # it would need TensorFlow
        )


def sources(folder: Path) -> tuple[Any, Any]:
    """Random access to the labels of all records, and to all JPEG pictures in the order of the records.

    Every file that was read stays open; a large set has hundreds.
    """
    files.allow_many_open()
    builder = tfds.builder_from_directory(folder / _NAME / _VERSION)
    pictures = sorted(str(path) for path in (folder / _PICTURES).iterdir())
    return builder.as_data_source(split=_SPLIT), array_record_data_source.ArrayRecordDataSource(pictures)
