"""Two data sets outside of the package: skeletons without pictures, and videos by path without joints."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from jaxhar.checks import data_set, examples
from jaxhar.data import transforms, vocabulary
from jaxhar.data.dataset import DataSet
from jaxhar.data.example import cropped_example
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.mixed import Mixed
from jaxhar.data.records import pictures
from jaxhar.data.records.record import Field, Folder, Record, VideoClip
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import changed

MOVES = ("rise", "fall", "sway")
FLIPS = transforms.Augment(hflip=(False, True), subsampling=(1, 2))


def fingerprint(root: Path) -> Iterable[str]:
    for path in sorted(root.iterdir()):
        yield f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}"


@dataclass(frozen=True)
class Skeletons(DataSet):
    """Up to two skeletons of five joints a frame in .npz files, with scores; no picture anywhere."""

    skeleton: None = None
    augment: transforms.Augment = FLIPS
    clip_frames: int | tuple[int, ...] = 4
    clips_per_batch: int = 3

    title: ClassVar[str] = "toy skeletons"
    home: ClassVar[str] = "skeletons"

    def open(self, root):
        if not root.is_dir():
            raise Problem(f"there is no folder {root}")
        fields = {"points": Field((None, 2, 5, 2)), "score": Field((None, 2, 5))}
        return Folder(
            title=self.title,
            slug="skeletons",
            root=root,
            fingerprint=partial(fingerprint, root),
            scan=lambda skip_broken: (sorted(root.glob("*.npz")), []),
            load=_load_skeletons,
            fields=fields,
            actions=MOVES,
        )

    def generate(self, out, synth):
        write_skeletons(out, synth.train_sequences, synth.test_sequences)

    def example(self, record, frames, draw, keep_outside=False):
        points = record["points"][frames]
        points = points * np.float32([-1, 1]) if draw.flip else points
        return {
            "points": points,
            "score": record["score"][frames],
            "action": np.int32(record["action"]),
            "mask": np.bool_(True),
            "sequence": np.int32(record["index"]),
            "flipped": np.bool_(draw.flip),
        }


def _load_skeletons(path: Path, skip_broken: bool):
    with np.load(path) as file:
        points, score = file["points"], file["score"]
    split, number = path.stem.split("_")
    fields = {"points": points, "score": score}
    return Record(path.stem, split, len(points), fields, action=int(number) % 3, subject=int(split == "test")), []


def write_skeletons(out: Path, train: int = 7, test: int = 4) -> Path:
    """Points that move by their class, so that it can be learned."""
    out.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for n in range(count):
            t = np.linspace(0, 1, 6 + n)[:, None, None]
            way = [(0, -t), (0, t), (np.sin(6 * t), 0)][n % 3]
            points = rng.normal(0, 0.1, (1, 2, 5, 2)) + np.stack(np.broadcast_arrays(*way, 0 * t)[:2], -1)
            score = np.ones(points.shape[:3], np.float32)
            np.savez(out / f"{split}_{n:03d}.npz", points=points.astype(np.float32), score=score)
    return out


@dataclass(frozen=True)
class Films(DataSet):
    """Parts of videos that stay where they are, perhaps with a label; no joints."""

    skeleton: None = None
    augment: transforms.Augment = FLIPS
    clip_frames: int | tuple[int, ...] = 3
    image_size: int | tuple[int, int] = (16, 24)
    clips_per_batch: int = 2
    labelled: bool = True

    title: ClassVar[str] = "toy films"
    home: ClassVar[str] = "films"

    def open(self, root):
        films = sorted(root.glob("*.mp4"))
        return Folder(
            title=self.title,
            slug="films",
            root=root,
            fingerprint=lambda: [*fingerprint(root), str(self.labelled)],
            scan=lambda skip_broken: ([(film, half) for film in films for half in (0, 1)], []),
            load=partial(_load_film, self.labelled),
            actions=MOVES if self.labelled else (),
        )

    def generate(self, out, synth):
        write_films(out)

    def example(self, record, frames, draw, keep_outside=False):
        box = transforms.centred_bbox(record["size"].tolist(), draw.scale)
        return cropped_example(record, frames, draw, box=box, size=self.image_size)


def _load_film(labelled: bool, item: tuple[Path, int], skip_broken: bool):
    film, half = item
    clip = VideoClip(str(film), 0.5 * half, 0.5 * (half + 1))
    length, size = pictures.measure(clip)
    number = int(film.stem.split("_")[1])
    # one that nobody labelled among the others
    action = -1 if not labelled or film.stem == "train_000" else (number + half) % 3
    name, split = f"{film.stem}.{half}", film.stem.split("_")[0]
    return Record(name, split, length, {}, clip, size, action, subject=number + 10 * (split == "test")), []


def write_films(out: Path) -> Path:
    """Five videos of a second, each frame brighter than the one before."""
    out.mkdir(parents=True)
    for name in ("train_000", "train_001", "train_002", "test_000", "test_001"):
        with VideoWriter(out / f"{name}.mp4", Fraction(10), 32, 24) as writer:
            for t in range(10):
                image = np.full((24, 32, 3), 20 + 20 * t, np.uint8)
                image[:, 16:] //= 2
                writer.write(image, t / 10)
    return out


@pytest.fixture(scope="module")
def skeletons(tmp_path_factory):
    base = tmp_path_factory.mktemp("skeletons")
    return Skeletons(root=str(write_skeletons(base / "set")), cache=str(base / "cache")).prepare(base)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    base = tmp_path_factory.mktemp("films")
    return Films(root=str(write_films(base / "set")), cache=str(base / "cache")).prepare(base)


def test_skeletons_stream(skeletons):
    assert skeletons.skeleton is None and skeletons.actions == MOVES
    stream = skeletons.train_stream(0)
    batch = next(stream)["clips"]
    state, after = stream.get_state(), next(stream)["clips"]
    stream.set_state(state)
    np.testing.assert_array_equal(next(stream)["clips"]["points"], after["points"])
    stream.close()
    assert batch["points"].shape == (3, 4, 2, 5, 2) and batch["score"].shape == (3, 4, 2, 5)
    assert set(batch) == {"points", "score", "action", "mask", "sequence", "flipped"}
    batches = list(skeletons.eval_stream(batch=3))
    assert sum(b["mask"].sum() for b in batches) == 4 == len(skeletons.entries())
    mirrored = next(iter(skeletons.eval_stream(view="multi", batch=2)))
    np.testing.assert_array_equal(mirrored["points"][0, ..., 0], -mirrored["points"][1, ..., 0])
    assert {name: view.kind for name, view in skeletons.views().items()} == {"single": "each", "multi": "clips"}
    assert skeletons.eval_length("single", batch=3) == 2


def test_batches_of_several_lengths(skeletons, films):
    """Of one or the other in one run, with a saved position; evaluation has the first."""
    several = skeletons.changed(clip_frames=(3, 6))
    stream = several.train_stream(0)
    lengths = [next(stream)["clips"]["points"].shape[1] for _ in range(12)]
    assert {*lengths} == {3, 6}
    state = json.loads(json.dumps(stream.get_state()))
    after = [next(stream)["clips"]["points"] for _ in range(4)]
    stream.close()
    again = several.train_stream(0)
    again.set_state(state)
    for expected in after:
        np.testing.assert_array_equal(next(again)["clips"]["points"], expected)
    again.close()
    with pytest.raises(Problem, match="is of 2 lengths of clips, but data.clip_frames has 3 now"):
        skeletons.changed(clip_frames=(3, 6, 7)).train_stream(0).set_state(state)
    assert next(iter(several.eval_stream(batch=3)))["points"].shape[1] == 3
    with pytest.raises(Usage, match=r"data.clip_frames is \(3, 0\)"):
        skeletons.changed(clip_frames=(3, 0)).train_stream(0)
    assert changed(skeletons.config, {"clip_frames": (5, 10)}, "data").lengths == (5, 10)
    # mixed sets have the same length in a step
    pair = {"a": dataclasses.replace(films.config, clip_frames=(2, 3))}
    pair["b"] = dataclasses.replace(films.config, clip_frames=(2, 3), labelled=False)
    stream = Mixed(pair, "a", clips={"a": 1, "b": 2}).prepare(Path(films.config.cache)).train_stream(0)
    assert {next(stream)["clips"]["frames"].shape[:2] for _ in range(8)} == {(3, 2), (3, 3)}
    stream.close()
    with pytest.raises(Usage, match="must have the same clip_frames"):
        Mixed({"a": pair["a"], "b": films.config}, "a", clips={"a": 1, "b": 1})


def test_films_stream(films):
    stream = films.train_stream(0)
    batches = [next(stream)["clips"] for _ in range(6)]
    stream.close()
    assert batches[0]["frames"].shape == (2, 3, 16, 24, 3) and batches[0]["affine"].shape == (2, 3, 3, 3)
    assert not {"pose", "valid", "visible", "norm"} & set(batches[0])
    # one of the clips has no label, and fits into a batch with others
    assert {-1, 0, 1, 2} >= {int(a) for batch in batches for a in batch["action"]} >= {-1}
    (batch,) = films.eval_stream(batch=4)
    names = films.sequence_names()
    assert names == ["test_000.0", "test_000.1", "test_001.0", "test_001.1"]
    for i, name in enumerate(names):  # the second half of a film is brighter
        first = 20 + 20 * (5 * int(name[-1]) + 1)
        left = batch["frames"][i, :, 4:12, 2:8].mean((1, 2, 3))
        if not batch["flipped"][i]:
            np.testing.assert_allclose(left, [first, first + 20, first + 40], atol=6)


def test_films_without_any_label(films, tmp_path):
    prepared = dataclasses.replace(films.config, labelled=False).prepare(tmp_path)
    assert prepared.actions == () and "action" not in next(prepared.train_stream(0))["clips"]
    assert "action" not in next(iter(prepared.eval_stream()))


def test_both_pass_the_checks_that_concern_them(skeletons, films):
    for prepared, expected in (
        (skeletons, ["splits", "classes", "numbers", "labels", "stream"]),
        (films, ["splits", "classes", "numbers", "labels", "pixels", "mirror", "stream"]),
    ):
        findings, cases = examples.check_examples(prepared, 6)
        assert [f.check for f in findings] == expected and len(cases) >= 9
        assert all(f.passed for f in findings), findings
    found = data_set.read_all(skeletons.config, Path(skeletons.config.root), progress=False)
    assert found.counts["train"] == 7 and not found.pictures and not found.bad
    found = data_set.read_all(films.config, Path(films.config.root), progress=False)
    assert found.counts == {"sequences": 10, "test": 4, "train": 6, "frames": 50} and len(found.pictures) == 10


def test_a_mix_keeps_what_can_be_kept(skeletons, films, capsys):
    vocabulary.warn_once.cache_clear()
    unlabelled = dataclasses.replace(films.config, labelled=False, clip_frames=4)
    labelled = dataclasses.replace(films.config, clip_frames=4)
    sets = {"labelled": labelled, "plain": unlabelled}
    mixed = Mixed(sets, "labelled", clips={"labelled": 2, "plain": 1}).prepare(Path(films.config.cache))
    stream = mixed.train_stream(0)
    batch = next(stream)["clips"]
    stream.close()
    assert batch["action"][2] == -1 and batch["source"].tolist() == [0, 0, 1]
    assert batch["affine"].shape == (3, 4, 3, 3) and batch["sequence"].shape == (3,) and not capsys.readouterr().err
    assert list(mixed.parts) == ["labelled", "plain"] and mixed.views() == mixed.parts["labelled"].views()
    image = skeletons.config.image_size
    sets = {"films": dataclasses.replace(labelled, image_size=image), "points": skeletons.config}
    mixed = Mixed(sets, "points", clips={"films": 1, "points": 2}).prepare(Path(films.config.cache))
    stream = mixed.train_stream(0)
    batch = next(stream)["clips"]
    stream.close()
    assert "frames" not in batch and not batch["score"][0].any() and batch["score"][1:].all()
    assert "'frames' is left out of the joined batches, because points has none" in capsys.readouterr().err


def test_settings_that_do_not_exist_are_named(skeletons, films):
    assert skeletons.changed(clips_per_batch=5).config.clips_per_batch == 5
    with pytest.raises(Usage, match="data has no 'clip_per_batch'; did you mean 'clips_per_batch'[?]"):
        skeletons.changed(clip_per_batch=4)
    with pytest.raises(Usage, match="data.root decides which records are packed"):
        skeletons.changed(root="elsewhere")
    mixed = Mixed({"films": films.config}, "films", clips={"films": 1}).prepare(Path(films.config.cache))
    assert mixed.changed(clips={"films": 3}).config.clips == {"films": 3}
    smaller = mixed.changed(image_size=24)
    assert {smaller.config.sets["films"].image_size, smaller.parts["films"].config.image_size} == {24}
    with pytest.raises(Usage, match="data.root decides which records are packed"):
        mixed.changed(root="elsewhere")
    with pytest.raises(Usage, match="data has no 'clips_per_batch'; did you mean 'clips'[?]"):
        mixed.changed(clips_per_batch=3)
    with pytest.raises(Usage, match="data has no 'clip'; did you mean 'clips'[?]"):
        mixed.changed(clip={"films": 3})
    with pytest.raises(Usage, match="the data has no 'film'; did you mean 'films'[?]"):
        mixed.changed(clips={"film": 3})
