"""Rows, pictures and figures of LIP as the original reads and computes them, and what is wrong with bad files."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxhar import zoo
from jaxhar.data.lip import folder as lip_folder
from jaxhar.data.lip.settings import LIP
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.map_error import MapError
from jaxhar.host.errors import Problem
from parity_tests.multiview_golden_test import made, weights_file
from parity_tests.oracle import multiview as oracle


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    meta, expected = made.read_case("sb_lip")
    root = tmp_path_factory.mktemp("lip")
    made.write_lip(meta, root / "set")
    return meta, expected, root, LIP(root=str(root / "set"), cache=str(root / "cache")).prepare(root)


def test_pictures_are_resized_as_by_the_original(case):
    meta, expected, _, prepared = case
    assert prepared.sequence_names("val")[:4] == [f"val/{name}" for name in meta["rows"]]
    batch = next(prepared.eval_stream("val", batch=4))
    found = np.asarray(zoo.config("simple-baseline-lip").pixels(batch))[:, 0]
    stored = expected["inputs_every4"]
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2)[:, :, ::4, ::4], stored.reshape(4, 3, 64, 64), atol=1e-5)


@pytest.mark.slow
def test_the_validation_error_is_the_originals(case, tmp_path):
    meta, expected, _, prepared = case
    config = dataclasses.replace(zoo.config("simple-baseline-lip"))
    model = oracle.load_torch(weights_file(meta, tmp_path), config)
    results = evaluate.run(model, prepared, Eval(scorers=(MapError(),), batch=12), progress=False)
    figures = results.scalars()
    assert figures["map_mse/original"] == pytest.approx(float(expected["validation_mse"]), abs=1e-5)
    assert figures["map_mse"] != figures["map_mse/original"]


def test_the_error_counts_the_rows_by_the_originals_rule(case):
    """With 108 rows: the first 32, against targets without the last row and column."""
    _, _, _, prepared = case

    def zeros(batch):
        return {"maps": np.zeros((1, len(batch["mask"]), 1, 64, 64, 16), np.float32)}

    figures = evaluate.run(zeros, prepared, Eval(scorers=(MapError(),)), progress=False).scalars()
    rows = [made.lip_rows(case[0], "val")[i] for i in range(32)]
    errors = []
    for _, size, _, joints in rows:
        present = np.array([joint is not None for joint in joints])
        points = np.array([joint[:2] if joint else (0, 0) for joint in joints])
        errors.append((oracle.legacy_lip_targets(points, present, size) ** 2).mean())
    assert figures["map_mse/original"] == pytest.approx(np.mean(errors), rel=1e-6)


ROW = "a.jpg," + ",".join("1,2,0" for _ in range(16))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROW.rpartition(",")[0], "line 2 of .* has 48 fields, expected 49"),
        (ROW.replace("1,2,0", "nan,2,0", 1), "r_ankle is nan,2,0; it must be three numbers or three nan"),
        (ROW.replace("1,2,0", "x,2,0", 1), "r_ankle is x,2,0, which are not numbers"),
        (ROW.replace("1,2,0", "1,2,7", 1), "v of 0 or 1"),
        (ROW.replace("a.jpg", "../a.jpg"), "which is not a file name"),
    ],
)
def test_wrong_rows_are_told(tmp_path, row, message):
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "annotations.csv").write_text(f"{ROW}\n{row}")
    with pytest.raises(Problem, match=message):
        lip_folder.folder(tmp_path).scan(False)
    kept, skipped = lip_folder.folder(tmp_path).scan(True)
    assert len(kept) == 1 and len(skipped) == 1


def test_missing_joints_and_joints_far_outside(tmp_path):
    (tmp_path / "val" / "img").mkdir(parents=True)
    made._png(tmp_path / "val" / "img" / "a.jpg", made.image("a", 0, 40, 50))
    (tmp_path / "val" / "annotations.csv").write_text(
        ROW.replace("1,2,0", "nan,nan,nan", 1).replace("1,2,0", "9000,2,1", 1)
    )
    folder = lip_folder.folder(tmp_path)
    ((person,), _) = folder.scan(False)
    assert person.labelled.tolist() == [False] + [True] * 15 and person.occluded[1]
    with pytest.raises(Problem, match="line 1 of .* puts a joint at 9000 pixels in a picture of 50x40"):
        folder.load(person, False)
    assert folder.load(person, True)[0] is None


def test_grey_pictures_and_those_that_are_turned(tmp_path):
    """All five show the same, a bright square; labels are in the picture as viewers show it."""
    (tmp_path / "val" / "img").mkdir(parents=True)
    picture = np.full((48, 80), 50, np.uint8)
    picture[8:16, 56:64] = 200
    grey, rgb = Image.fromarray(picture), Image.fromarray(picture).convert("RGB")
    for name, image, turn in (("a", rgb, 1), ("b", grey, 1), ("c", rgb, 6), ("d", grey, 8), ("e", rgb, 2)):
        back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 2: Image.Transpose.FLIP_LEFT_RIGHT}
        exif = Image.Exif()
        exif[0x0112] = turn
        stored = image.transpose(back[turn]) if turn in back else image
        stored.save(tmp_path / "val" / "img" / f"{name}.jpg", exif=exif, quality=95)
    row = ",".join(f"{60 + j},{12 + 2 * j},0" for j in range(16))
    (tmp_path / "val" / "annotations.csv").write_text("\n".join(f"{name}.jpg,{row}" for name in "abcde"))
    data = LIP(root=str(tmp_path), cache=str(tmp_path / "cache"), image_size=(48, 80))
    (batch,) = data.prepare(tmp_path).eval_stream("val", batch=5)
    assert np.abs(batch["frames"][:, 0].astype(int) - picture[..., None]).max() < 12
    true = np.stack([60 + np.arange(16), 12 + 2 * np.arange(16)], -1) / (80, 48)
    np.testing.assert_allclose(batch["pose"], np.broadcast_to(true, (5, 1, 16, 2)), rtol=1e-6)
    assert batch["visible"].all()


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(Problem, match="is no folder of LIP"):
        lip_folder.check_root(tmp_path)
    with pytest.raises(Problem, match="does not exist"):
        lip_folder.check_root(Path("/no/such/folder"))
