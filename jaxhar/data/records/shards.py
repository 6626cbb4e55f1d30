"""Records as array_record files; imported only where some are packed or read.

Labels are a TFDS data set. Frames lie beside it, as JPEG bytes one behind the other, so that of a clip or a still
only its own frames are read. A shard may be written anywhere: the description of the set is added at the end.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source, array_record_module
from tensorflow_datasets.core import example_serializer, file_adapters, naming

from jaxhar.data.records.record import Record
from jaxhar.host import files

_NAME, _VERSION, _SPLIT = "packed_sequences", "1.0.0", "sequences"
_FRAMES = "packed_frames"
_FORMAT = file_adapters.FileFormat.ARRAY_RECORD


def features(joints: int, dims: int, extras: Mapping[str, tuple[int | None, ...]]) -> Any:
    """The fields of `jaxhar.data.records.Record` but its frames, see `jaxhar.data.records.Folder`."""
    f = tfds.features
    return f.FeaturesDict(
        {
            "name": f.Text(),
            "size": f.Tensor(shape=(2,), dtype=np.int32),
            "points": f.Tensor(shape=(None, joints, dims), dtype=np.float32),
            "labelled": f.Tensor(shape=(None, joints), dtype=np.bool_),
            "action": f.Scalar(np.int32),
            "subject": f.Scalar(np.int32),
            "view": f.Scalar(np.int32),
            **{k: f.Tensor(shape=s, dtype=np.float32) for k, s in extras.items()},
        }
    )


def shard(folder: Path, number: int, count: int) -> Path:
    """The file of a shard's labels under the folder of a set of `count` shards."""
    return Path(_template(folder).sharded_filepath(shard_index=number, num_shards=count))


def frames_of(folder: Path, number: int, count: int) -> Path:
    """The file of a shard's frames."""
    return folder / _FRAMES / shard(folder, number, count).name.replace(_NAME, _FRAMES)


def _template(folder: Path) -> naming.ShardedFileTemplate:
    return naming.ShardedFileTemplate(
        data_dir=folder / _NAME / _VERSION, dataset_name=_NAME, split=_SPLIT, filetype_suffix=_FORMAT.file_suffix
    )


def write_shard(labels: Path, frames: Path, form: Any, records: Iterable[Record]) -> None:
    """Write records, as they come, to two files; `form` is what `features` gives. OSError if there is no room."""
    serializer = example_serializer.ExampleSerializer(form.get_serialized_info())

    def serialized() -> Iterator[tuple[int, bytes]]:
        for i, record in enumerate(records):
            for frame in record.frames:
                writer.write(frame)
            example = serializer.get_tf_example(form.encode_example(_example(record)))
            yield i, example.SerializeToString(deterministic=True)  # else the order of the fields is left to chance

    try:
        with contextlib.closing(
            array_record_module.ArrayRecordWriter(str(frames), "group_size:1,uncompressed")
        ) as writer:
            file_adapters.ADAPTER_FOR_FORMAT[_FORMAT].write_examples(labels, serialized())
    except RuntimeError as error:  # so does array_record tell of a full disk
        raise OSError(str(error)) from error


def _example(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "size": np.array(record.size, np.int32),
        "points": np.asarray(record.points, np.float32),
        "labelled": np.asarray(record.labelled, np.bool_),
        "action": record.action,
        "subject": record.subject,
        "view": record.view,
        **{k: np.asarray(v, np.float32) for k, v in record.extras.items()},
    }


def describe(folder: Path, form: Any, lengths: Sequence[int]) -> None:
    """Add to a folder of shards what makes it a data set of TFDS.

    Args:
      form: what `features` gives. lengths: records in each shard, which may be 0.
    """
    template = _template(folder)
    files = [Path(template.sharded_filepath(shard_index=i, num_shards=len(lengths))) for i in range(len(lengths))]
    size = sum(path.stat().st_size for path in files)
    split = tfds.core.SplitInfo(name=_SPLIT, shard_lengths=list(lengths), num_bytes=size, filename_template=template)
    with contextlib.redirect_stdout(io.StringIO()):
        tfds.folder_dataset.write_metadata(
            data_dir=template.data_dir,
            features=form,
            split_infos=[split],
            filename_template=template,
            check_data=False,  # it would need TensorFlow
        )


def sources(folder: Path) -> tuple[Any, Any]:
    """Random access to the labels of all records, and to their frames as JPEG bytes, one record's after the other's.

    Every file that was read from stays open, hundreds in a large set.
    """
    files.allow_many_open()
    builder = tfds.builder_from_directory(folder / _NAME / _VERSION)
    frames = sorted(str(path) for path in (folder / _FRAMES).iterdir())
    return builder.as_data_source(split=_SPLIT), array_record_data_source.ArrayRecordDataSource(frames)
