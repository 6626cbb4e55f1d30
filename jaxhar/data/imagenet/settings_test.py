import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from jaxhar.data import transforms
from jaxhar.data.formats import jpeg
from jaxhar.data.imagenet.settings import FINETUNE, ImageNet
from jaxhar.host.errors import Problem, Usage

SMALL = ImageNet(box_folder="boxes", image_size=32, clips_per_batch=4)


@pytest.fixture
def root(tmp_path) -> Path:
    """Five pictures of a bright rectangle, whose boxes in train are known; pictures of val have none."""
    out = tmp_path / "set"
    image = np.zeros((60, 80, 3), np.uint8)
    image[15:45, 20:40] = 255
    for name in ("train/n02/a.JPEG", "train/n02/b.JPEG", "train/n01/c.JPEG", "val/n01/d.JPEG", "val/n02/e.JPEG"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(jpeg.encode(image))
    boxes = np.array([[20, 15, 39, 44, 0.9]], np.float32)
    (out / "boxes").mkdir()
    (out / "boxes" / "n02.pkl").write_bytes(pickle.dumps({"a.JPEG": boxes, "b.JPEG": boxes}))
    (out / "boxes" / "n01.pkl").write_bytes(pickle.dumps({"c.JPEG": boxes}))
    return out


def prepared(root: Path, **changes):
    return replace(SMALL, root=str(root), cache=str(root.parent / "cache"), **changes).prepare(root.parent)


def test_the_cover_lies_on_the_picture_in_every_crop(root):
    data = prepared(root)
    assert data.actions == ("n01", "n02")
    stream = data.train_stream(0)
    batches = [next(stream)["clips"] for _ in range(3)]
    stream.close()
    assert {bool(flip) for batch in batches for flip in batch["flipped"]} == {True, False}
    for batch in batches:
        lit, covered = batch["frames"].mean(-1) > 127, batch["cover"] > 0.5
        assert batch["cover"].shape == (4, 1, 32, 32)
        assert ((lit & covered).sum((1, 2, 3)) / (lit | covered).sum((1, 2, 3))).min() > 0.9
        assert (batch["action"] == (np.array([0, 1, 1])[batch["sequence"]])).all()


def test_evaluation_takes_the_middle_of_the_scaled_picture(root):
    data = prepared(root)
    (batch,) = data.eval_stream(batch=2)
    assert batch["action"].tolist() == [0, 1] and not batch["cover"].any()
    picture = jpeg.decode((root / "val/n01/d.JPEG").read_bytes(), "")
    scaled = cv2.resize(picture, (48, 36), interpolation=cv2.INTER_AREA)
    assert np.abs(batch["frames"][0, 0].astype(int) - scaled[2:34, 8:40]).mean() < 5


def test_augmentations(root):
    stream = prepared(root, augment=FINETUNE, box_folder="").train_stream(0)
    assert next(stream)["clips"]["frames"].dtype == np.uint8
    stream.close()
    stream = prepared(root, augment=transforms.NONE, box_folder="").train_stream(0)
    batch = next(stream)["clips"]
    stream.close()
    assert "cover" not in batch and (batch["affine"] == batch["affine"][0]).all()


class Wicked:
    def __reduce__(self):
        return print, ("executed",)


def test_what_does_not_fit(root, tmp_path, capsys):
    with pytest.raises(Usage, match="data.share is 1.2; it must be above 0 and at most 1"):
        ImageNet(share=1.2)
    with pytest.raises(Usage, match="RandAugment, which turns and moves pictures but not their boxes"):
        replace(SMALL, augment=FINETUNE)
    with pytest.raises(Problem, match=r"expected are train/CLASS/\*.JPEG"):
        prepared(tmp_path / "nowhere")
    with pytest.raises(Problem, match="persons is no folder of boxes"):
        prepared(root, box_folder="persons")
    path = root / "boxes" / "n01.pkl"
    cases = {
        "c.JPEG: its boxes are not in": pickle.dumps({}),
        "has boxes of the frames of a video": pickle.dumps([np.zeros((0, 5), np.float32)]),
        "n01.pkl": pickle.dumps(Wicked()),
        "has 101 boxes of it": pickle.dumps({"c.JPEG": np.zeros((101, 5), np.float32)}),
    }
    for words, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(Problem, match=words):
            prepared(root)
    path.unlink()
    with pytest.raises(Problem, match="c.JPEG: its boxes are not there"):
        prepared(root)
    assert len(prepared(root, skip_broken=True).entries("train")) == 2
    assert "executed" not in capsys.readouterr().out
