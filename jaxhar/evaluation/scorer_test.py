"""A scorer of another kind, neither of poses nor of actions: from a network without labels to the report."""

import dataclasses
import json

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console

from jaxhar.core.pixels import Pixels
from jaxhar.core.prepared import View
from jaxhar.core.skeleton import PA16
from jaxhar.evaluation import evaluate
from jaxhar.evaluation.evaluate import Eval
from jaxhar.evaluation.results import Results
from jaxhar.evaluation.samples import Samples
from jaxhar.evaluation.scorer import Context, float64
from jaxhar.evaluation.sections import Picture, Section, Table, Tile
from jaxhar.viz import report


class Reads:
    pixels = Pixels.SIGNED
    reads = ("frames",)


class Blur(nnx.Module):
    """An autoencoder that gives back the mean colour of each frame, and twice it."""

    config = Reads()

    def __init__(self):
        self.scale = nnx.Param(jnp.array([1.0, 2.0]))

    def __call__(self, batch):
        frames = Pixels.SIGNED(batch)
        mean = frames.mean((2, 3), keepdims=True)  # (B, T, 1, 1, 3)
        patches = self.scale[...][:, None, None, None] * mean.reshape(1, *mean.shape[:2], 3)
        return {"patches": patches, "large": jnp.zeros((1, len(frames), 512))}


class Clips:
    """Clips of plain colours, without labels of any kind."""

    skeleton, actions, eval_split, notes = None, (), "test", ("Colours are made up.",)

    def __init__(self, count=5):
        rng = np.random.default_rng(0)
        self.frames = np.tile(rng.integers(0, 256, (count, 2, 1, 1, 3)).astype(np.uint8), (1, 1, 6, 6, 1))

    def views(self, split):
        return {"single": View("single", "each"), "grid": View("grid", "crops")}

    def sequence_names(self, split):
        return tuple("abcde")

    def eval_length(self, split, view, batch):
        return -(-len(self.frames) // batch)

    def eval_stream(self, split, view, batch):
        for start in range(0, len(self.frames), batch):
            index = np.arange(start, start + batch)
            sequence = index.astype(np.int32) // (1 if view == "single" else 2)
            yield {
                "frames": self.frames[index % len(self.frames)],
                "sequence": sequence,
                "mask": index < len(self.frames),
            }


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """The mean squared error of the last block's colours, and a picture of the first clip."""

    reads = ("patches",)

    def begin(self, context):
        return _Sums(context)

    def truth(self, batch, context):
        return {"patches": (2 * (batch["frames"][None].mean((3, 4)) / 255 - 0.5)).astype(np.float32)}


class _Sums:
    def __init__(self, context):
        self.context, self.total, self.count, self.pictures = context, 0.0, 0, []

    def add(self, example, preds):
        assert preds.keys() == {"patches"} and preds["patches"].dtype == np.float32
        true = 2 * (float64(example["frames"]).mean((1, 2)) / 255 - 0.5)
        self.total += float(((float64(preds["patches"][-1]) - true) ** 2).mean())
        self.count += 1
        if not self.pictures:
            found = np.broadcast_to(preds["patches"][-1, 0].astype(np.float32), (6, 6, 3))
            both = np.concatenate([example["frames"][0], Pixels.SIGNED.picture(found)], 1)
            name = self.context.name(example)
            self.pictures.append(Picture("reconstruction", both, name=name, caption="frame and reconstruction"))

    def sections(self):
        key, value = f"mse{self.context.suffix}", self.total / self.count
        return [
            Section(
                "Reconstruction",
                scalars={key: value},
                units={key: ""},
                tiles=(Tile("Error", f"{value:.3f}", f"of {self.count} clips"),),
                tables=(Table(f"Error, {self.context.view.name}", ("what", "mse"), (("all", f"{value:.4f}"),)),),
                pictures=tuple(self.pictures),
                if_true={key: (0.0, 1e-9)},
            )
        ]


def test_from_the_network_to_the_report(tmp_path):
    plan = Eval(("single", "grid"), (Reconstruction(), Samples(2)), batch=2)
    evaluate.check(plan, Clips(), "mse")
    results = evaluate.run(Blur(), Clips(), plan, progress=False)
    data = 2 * (Clips().frames.mean((2, 3)) / 255 - 0.5)
    np.testing.assert_allclose(results.scalars()["mse"], (data**2).mean(), rtol=1e-5)
    assert results.examples == {"single": 5, "grid": 3} and "mse/grid" in results.scalars()
    results.save(tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text())["scalars"] == results.scalars()
    html = report.write(tmp_path, results, "toy", console=Console(quiet=True)).read_text()
    for words in ("<h2>Reconstruction</h2>", "Error, grid", "frame and reconstruction", "Colours are made up."):
        assert words in html, words
    drawn = cv2.imread(str(tmp_path / "pictures" / "reconstruction_01.png"))
    assert drawn.shape == (210, 420, 3)
    assert (tmp_path / "pictures" / "sample_02.png").exists()
    report.write(tmp_path / "again", Results.load(tmp_path / "results.json"), "toy", console=Console(quiet=True))


def test_its_truth_meets_its_bounds():
    data, scorer = Clips(), Reconstruction()
    context = Context(View("single", "each"))
    results = evaluate.run(lambda batch: scorer.truth(batch, context), data, Eval(scorers=(scorer,)), progress=False)
    (section,) = results.sections
    assert section.if_true["mse"][0] <= section.scalars["mse"] <= section.if_true["mse"][1]


@pytest.mark.parametrize("scored", [False, True])
def test_a_skeleton_without_a_picture_is_a_sample(tmp_path, scored):
    """Sequences of skeletons: the middle frame of the first person is drawn, whatever the unit of its joints."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-40, 900, (3, 2, 16, 2)).astype(np.float32)
    example = {"points": points, "action": np.int32(1), "sequence": np.int32(0)}
    if scored:
        example["score"] = np.ones((3, 2, 16), np.float32)
    context = Context(View("single", "each"), skeleton=PA16, classes=("sit", "stand_up"), names=("s",))
    sums = Samples().begin(context)
    sums.add(example, {"action": np.array([[0.0, 2.0]], np.float32)})
    ((shown,),) = (section.pictures for section in sums.sections())
    assert shown.image is None and (shown.answer, shown.truth, shown.name) == ("stand up", "stand up", "s")
    assert 0.1 - 1e-9 <= shown.true.min() and shown.true.max() <= 0.9 + 1e-9 and shown.valid.all()
    results = Results("test", {"single": 1}, tuple(sums.sections()))
    report.write(tmp_path, results, "skeletons", console=Console(quiet=True))
    assert cv2.imread(str(tmp_path / "pictures" / "sample_01.png")).std() > 5


def test_what_a_network_sees_is_shown_beside_some_samples(tmp_path):
    def shows(batch):
        assert batch["points"].shape == (4, 3, 2, 16, 2) and batch["score"].shape == (4, 3, 2, 16)
        return {"volume": np.ones((4, 3, 8, 8, 16)), "attention": batch["score"] / 96}

    context = Context(View("single", "each"), skeleton=PA16, names=tuple("abcdef"), shows=shows)
    sums = Samples(5).begin(context)
    for n in range(6):
        points = np.random.default_rng(n).uniform(0, 1, (3, 2, 16, 2))
        sums.add({"points": points, "score": np.ones((3, 2, 16)), "sequence": n}, {})
    skeletons, seen = sums.sections()
    assert (skeletons.title, seen.title) == ("Skeletons", "What the network sees") and len(skeletons.pictures) == 5
    assert [picture.file for picture in seen.pictures] == ["volume"] * 4 + ["attention"] * 4
    assert [picture.name for picture in seen.pictures[:4]] == [picture.name for picture in skeletons.pictures[:4]]
    np.testing.assert_allclose(seen.pictures[5].attention, 2 / 96)
    report.write(tmp_path, Results("test", {"single": 6}, (skeletons, seen)), "seen", console=Console(quiet=True))
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert {"sample_05.png", "volume_04.png", "attention_04.png"} <= names


def test_the_attention_to_the_patches_of_a_clip_is_shown_over_its_frames(tmp_path):
    def shows(batch):
        assert batch.keys() == {"frames"} and batch["frames"].shape == (2, 4, 16, 16, 3)
        return {"rollout": np.tile(np.eye(2), (2, 2, 1, 1))}

    sums = Samples(2).begin(Context(View("single", "each"), names=("a", "b"), shows=shows))
    frames = np.full((4, 16, 16, 3), 120, np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None, None]
    for n in range(2):
        sums.add({"frames": frames, "sequence": n}, {})
    crops, seen = sums.sections()
    assert (crops.title, seen.title) == ("Frames", "What the network sees") and "attention rollout" in seen.about[0]
    np.testing.assert_array_equal(seen.pictures[0].frames[:, 0, 0, 0], [121, 123])
    report.write(tmp_path, Results("test", {"single": 2}, (crops, seen)), "seen", console=Console(quiet=True))
    drawn = cv2.imread(str(tmp_path / "pictures" / "rollout_02.png"))[..., ::-1].astype(int)
    assert drawn.shape == (168, 332, 3)
    for left in (4, 168):
        clip = drawn[4:164, left : left + 160]
        assert (np.abs(clip[:35, 125:] - 122) <= 1).all(), "a patch that counts least stays as it is"
        assert (clip[5:30, 5:30, 0] > 1.4 * clip[5:30, 5:30, 2]).all(), "red counts most"


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_a_skeleton_in_space_is_drawn_upright(axes):
    points = np.zeros((1, 1, 16, 3))
    points[0, 0, :, 2] = 0.01  # far away
    for name, x, y in (("pelvis", 0, 0), ("head", 0, 0.7), ("l_shoulder", -0.2, 0.5), ("r_shoulder", 0.2, 0.5)):
        points[0, 0, PA16.index(name), :2] = x, y
    points[0, 0, PA16.index("l_ankle")] = -0.1, -0.8, 0.01
    shown = Samples(1).begin(Context(View("single", "each"), skeleton=PA16))
    shown.add({"points": points[..., axes], "sequence": 0}, {})
    (picture,) = shown.sections()[0].pictures
    at = {name: picture.true[PA16.index(name)] for name in PA16.joints}
    assert at["head"][1] < at["pelvis"][1] < at["l_ankle"][1]
    assert at["l_shoulder"][0] < at["pelvis"][0] < at["r_shoulder"][0]
