import dataclasses
import json

import numpy as np
import pytest

from jaxhar import port, zoo
from jaxhar.cli import main as cli
from jaxhar.core.skeleton import MPII, UNION20
from jaxhar.data.formats.picture import read_image
from jaxhar.data.generate.film import Synth
from jaxhar.data.lip.settings import LIP
from jaxhar.data.mpii.settings import MPII as MPIISet
from jaxhar.data.multiview.settings import MultiView
from jaxhar.data.penn.settings import Penn
from jaxhar.host.errors import Usage
from jaxhar.predict import pictures
from jaxhar.predict.pictures import Pictures
from jaxhar.weights import checkpoint

SYNTH = Synth(2, 6, 1, 2, size=(160, 120), clutter=0.0)
BLUE, RED = 2, 0


def truth(batch):
    """A network that is right, sure of the first joints only."""
    pose = np.where(batch["valid"], batch["pose"], np.nan)[None]
    return {"pose": pose, "visible": np.broadcast_to(np.linspace(1, 0, pose.shape[-2]), pose.shape[:-1])}


def pure(image: np.ndarray, channel: int) -> np.ndarray:
    """(H, W) pixels of one pure colour."""
    others = np.delete(image, channel, -1).max(-1)
    return (image[..., channel] > 230) & (others < 40)


def written(prepared, out, *, split, view="single", **how):
    out.mkdir()
    made = pictures.write(truth, prepared, split, prepared.views()[view], out, Pictures(3, **how), prepared.skeleton)
    return {path.name: read_image(path) for path in made}


@pytest.mark.parametrize(
    ("data", "split"),
    [
        (LIP(synth=SYNTH, image_size=64), "val"),
        (MPIISet(synth=SYNTH, image_size=64, skeleton=MPII), "valid"),
        (MPIISet(synth=SYNTH, image_size=64, skeleton=MPII, crop="simple_baselines", separate=False), "valid"),
        (Penn(synth=dataclasses.replace(SYNTH, frames=(5, 6)), image_size=64, skeleton=MPII, clip_frames=1), "test"),
    ],
    ids=["lip", "mpii", "simple_baselines", "penn"],
)
def test_joints_are_drawn_where_the_records_have_them(data, split, tmp_path):
    prepared = data.prepare(tmp_path)
    dots = written(prepared, tmp_path / "dots", split=split, skeleton=False)
    limbs = written(prepared, tmp_path / "limbs", split=split, view="single")
    assert len(dots) == 3 and dots.keys() == limbs.keys()
    names = [name.rpartition(".")[0] if split == "val" else name for name in prepared.sequence_names(split)]
    numbers = {name.replace("/", "_"): n for n, name in enumerate(names)}
    for name, image in dots.items():
        record = prepared.records(split)[numbers[name.removesuffix(".png")]]
        assert (image.shape[1], image.shape[0]) == tuple(record["size"])
        frame = 0 if record["length"] == 1 else data.windows("single", record["length"])[0][0][0]
        points = record["points"][frame][record["labelled"][frame]]
        inside = (points > 2).all(-1) & (points < np.array(record["size"]) - 3).all(-1)
        red = pure(image, RED)
        assert inside.sum() >= 5
        for x, y in points[inside].round().astype(int):
            assert red[y - 2 : y + 3, x - 2 : x + 3].any()
        assert pure(limbs[name], RED).sum() > red.sum()


def test_what_is_drawn_can_be_chosen(tmp_path):
    prepared = LIP(synth=SYNTH, image_size=64).prepare(tmp_path)
    plain = written(prepared, tmp_path / "a", split="val", seed=1, skeleton=False)
    again = written(prepared, tmp_path / "b", split="val", seed=1, skeleton=False, view="flip")
    sure = written(prepared, tmp_path / "c", split="val", seed=1, skeleton=False, threshold=0.7, show_truth=True)
    assert plain.keys() == again.keys() == sure.keys()
    chosen = {tuple(written(prepared, tmp_path / f"seed{n}", split="val", seed=n)) for n in range(2, 6)}
    assert len(chosen) > 1
    for name, image in plain.items():
        np.testing.assert_array_equal(image, again[name])  # poses of mirror images are averaged
        assert pure(sure[name], RED).sum() < pure(image, RED).sum()
        assert pure(sure[name], BLUE).any() and not pure(image, BLUE).any()
    with pytest.raises(Usage, match="--pictures must be 1 or more"):
        Pictures(0)


def test_the_command_draws_and_takes_all_views_of_a_moment(tmp_path, capsys):
    root = tmp_path / "set"
    MultiView().generate(root, dataclasses.replace(SYNTH, frames=(2, 2)))
    for views, name in ((4, "net"), (3, "three")):
        config = dataclasses.replace(zoo.tiny("multiview-h36m"), views=views)
        shapes, rng = port.shapes(config), np.random.default_rng(0)
        # positive numbers serve as weights and as variances
        flat = {leaf: rng.uniform(0.01, 0.1, shape).astype(np.float32) for leaf, shape in shapes.items()}
        checkpoint.save_model(tmp_path / name, port.from_flat(flat, config), UNION20, ())
    words = ["predict", str(root), "--data", "h36m-multiview", "--weights", str(tmp_path / "net"), "--no-progress"]
    words += ["--out", str(tmp_path / "out"), "--set", "thin=1,1", "--batch", "1"]
    assert cli.main(words) == 0
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    files = [image["file_name"] for image in content["images"]]
    assert len(files) == 4 * len({name.rpartition("/")[0] for name in files}) > 0
    assert [name.rpartition("/")[2] for name in files[:4]] == [f"{view:06d}" for view in range(4)]
    keypoints = np.reshape([a["keypoints"] for a in content["annotations"][:4]], (4, -1))
    assert len(np.unique(keypoints, axis=0)) == 4
    assert cli.main([*words, "--pictures", "2", "--show-truth", "--seed", "4"]) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    capsys.readouterr()
    words[words.index("--weights") + 1] = str(tmp_path / "three")
    assert cli.main(words) != 0
    assert "the network reads 3 views, but Human3.6M, four views has 4" in capsys.readouterr().err
