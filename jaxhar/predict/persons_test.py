"""Videos of several figures of dots, whose joints the network of `predictor_test` finds."""

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from jaxhar.data.formats.video import Video
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.host.errors import Problem, Usage
from jaxhar.predict import persons, predictor
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.predictor_test import COLOURS, OFFSETS, draw, go, rows_of

SIZE = (480, 400)
HALF = np.array([38.0, 48.0])
Way = list[tuple[float, float] | None]


def film(path: Path, *ways: Way, rate: int = 20) -> Path:
    """A video at `rate` frames a second with a figure at each place; None: it is not there."""
    with VideoWriter(path, Fraction(rate), *SIZE) as writer:
        for i, places in enumerate(zip(*ways, strict=True)):
            image = np.full((SIZE[1], SIZE[0], 3), 110, np.uint8)
            for place in places:
                if place is not None:
                    figure = draw(place, SIZE)
                    image = np.where((figure != 110).any(-1, keepdims=True), figure, image)
            writer.write(image.astype(np.uint8), i / rate)
    return path


class FindsFigures:
    """A detector: a box about each dot of the second colour; the first person from the left is a little surer."""

    def boxes(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        near = np.abs(image.astype(int) - list(COLOURS.values())[1]).max(-1) < 70
        labels, count = ndimage.label(near)
        middles = [c[::-1] for c in ndimage.center_of_mass(near, labels, range(1, count + 1))]
        middles = sorted(middles, key=lambda c: c[0])
        boxes = np.array([np.concatenate([c - HALF, c + HALF]) for c in np.array(middles).reshape(-1, 2)]).reshape(
            -1, 4
        )
        return boxes, 0.9 - 0.01 * np.arange(len(boxes))


def line(start: tuple[float, float], step: tuple[float, float], n: int) -> Way:
    return [(start[0] + step[0] * i, start[1] + step[1] * i) for i in range(n)]


def mot(path: Path, *ways: Way) -> Path:
    rows = [
        f"{i + 1},{who},{x - HALF[0]},{y - HALF[1]},{2 * HALF[0]},{2 * HALF[1]},1"
        for who, way in enumerate(ways, 4)
        for i, (x, y) in enumerate(way)
    ]
    path.write_text("\n".join(rows))
    return path


UPPER, LOWER = line((80, 80), (4, 0), 40), line((400, 300), (-5, 0), 40)


@pytest.mark.parametrize("num_frames", [None, 4])
def test_joints_of_each_person_carry_its_identity(tmp_path, num_frames):
    source = film(tmp_path / "a.mp4", UPPER, LOWER)
    summary, poses, infer = go(source, tmp_path / "out", num_frames, detector=FindsFigures())
    assert len(set(infer.shapes)) == 1, "one compilation"
    for i, frame in enumerate(poses["frames"]):
        assert [person["id"] for person in frame["persons"]] == [1, 2]
        for person, way in zip(frame["persons"], (UPPER, LOWER), strict=True):
            np.testing.assert_allclose(person["joints"], OFFSETS + way[i], atol=1.5)
    assert [(track["id"], track["first"], track["last"]) for track in poses["tracks"]] == [(1, 0, 39), (2, 0, 39)]
    assert sorted(summary.persons) == [1, 2] and summary.empty == 0
    if num_frames:
        assert {row["person"] for row in rows_of(tmp_path / "out" / "actions.csv")} == {"1", "2"}
    assert Video(tmp_path / "out" / "overlay.mp4").total == 40


def test_a_file_of_boxes_keeps_its_identities(tmp_path):
    source = film(tmp_path / "a.mp4", UPPER, LOWER)
    found = BoxFile(mot(tmp_path / "det.txt", UPPER, LOWER))
    _, poses, _ = go(source, tmp_path / "out", detector=found)
    for i, frame in enumerate(poses["frames"]):
        assert [person["id"] for person in frame["persons"]] == [4, 5]
        np.testing.assert_allclose(frame["persons"][1]["joints"], OFFSETS + LOWER[i], atol=1.5)
    again = tmp_path / "out" / "poses.json"
    _, same, _ = go(source, tmp_path / "again", detector=BoxFile(again))
    assert [[p["id"] for p in f["persons"]] for f in same["frames"]] == [[4, 5]] * 40


def test_the_largest_persons_are_kept(tmp_path):
    source = film(tmp_path / "a.mp4", UPPER, [*LOWER[:12], *[None] * 28])
    _, poses, _ = go(source, tmp_path / "out", detector=FindsFigures(), keep=1)
    assert {person["id"] for frame in poses["frames"] for person in frame["persons"]} == {1}


def test_nothing_is_said_of_a_person_while_it_is_away(tmp_path):
    way: Way = [*LOWER[:10], *[None] * 14, *LOWER[24:]]
    source = film(tmp_path / "a.mp4", UPPER, way)
    _, poses, _ = go(source, tmp_path / "out", detector=FindsFigures())
    there = [[person["id"] for person in frame["persons"]] for frame in poses["frames"]]
    assert there[5] == [1, 2] and there[15] == there[19] == [1] and there[-1] == [1, 2]


def test_nothing_is_said_of_who_left_the_picture_for_a_moment(tmp_path):
    """Between two boxes that the same edge cuts nobody is told; between others a gap of 0.4 seconds is filled."""
    way = line((400, 300), (0, 0), 36)
    source = film(tmp_path / "a.mp4", way)
    for name, x, there in (("left", 460, set()), ("hidden", 400, set(range(14, 22)))):
        boxes = [(380, 60)] * 13 + [(x, 20)] + [None] * 8 + [(x, 20)] + [(380, 60)] * 13
        rows = [f"{i + 1},1,{box[0]},250,{box[1]},96,1" for i, box in enumerate(boxes) if box]
        (tmp_path / f"{name}.txt").write_text("\n".join(rows))
        _, poses, _ = go(source, tmp_path / name, detector=BoxFile(tmp_path / f"{name}.txt"))
        assert {i for i in range(14, 22) if poses["frames"][i]["persons"]} == there


def test_who_is_there_to_the_end_is_told_to_the_end(tmp_path):
    """At 30 frames a second one in four is looked at: of 40 frames the last one is that of index 36."""
    source = film(tmp_path / "a.mp4", UPPER, rate=30)
    _, poses, _ = go(source, tmp_path / "out", detector=FindsFigures())
    assert all(frame["persons"] for frame in poses["frames"])


def test_a_video_with_nobody(tmp_path):
    source = film(tmp_path / "a.mp4", [None] * 5)
    summary, poses, _ = go(source, tmp_path / "out", 4, detector=FindsFigures())
    assert summary.empty == 5 and not poses["tracks"] and all(not frame["persons"] for frame in poses["frames"])
    assert summary.action is None and Video(tmp_path / "out" / "overlay.mp4").total == 5
    assert next(summary.doubts()).startswith("nobody was found: the detector found nobody, so")
    for lines, why in (("", "has no boxes"), ("3,-1,50,30,76,96,1\n", "has too few boxes to follow anyone")):
        (tmp_path / "det.txt").write_text(lines)
        summary, _, _ = go(source, tmp_path / "out", detector=BoxFile(tmp_path / "det.txt"))
        assert next(summary.doubts()).startswith(f"nobody was found: {tmp_path / 'det.txt'} {why}, so")
    (tmp_path / "det.txt").write_text("3,7,50,30,76,96,1\n")
    summary, _, _ = go(source, tmp_path / "out", detector=BoxFile(tmp_path / "det.txt"))
    assert next(summary.doubts()).startswith("nobody was found: there is no box, or fewer than 4 joints")


def test_a_person_of_one_frame(tmp_path):
    source = film(tmp_path / "a.mp4", UPPER[:5])
    (tmp_path / "det.txt").write_text("3,7,50,30,76,96,1\n")
    _, poses, _ = go(source, tmp_path / "out", 4, detector=BoxFile(tmp_path / "det.txt"))
    assert [len(frame["persons"]) for frame in poses["frames"]] == [0, 0, 1, 0, 0]


def test_two_boxes_about_one_person_give_one(tmp_path):
    source = film(tmp_path / "a.mp4", UPPER[:9])
    aside = [(x + 12, y + 9) for x, y in UPPER[:9]]
    _, poses, _ = go(source, tmp_path / "out", detector=BoxFile(mot(tmp_path / "det.txt", aside, UPPER[:9])))
    assert [[person["id"] for person in frame["persons"]] for frame in poses["frames"]] == [[5]] * 9


def test_persons_of_pictures_are_numbered_in_each(tmp_path):
    (tmp_path / "in").mkdir()
    for name, places in (("a", [(80, 80), (300, 250)]), ("b", [(100, 120)])):
        images = [draw(place, SIZE) for place in places]
        image = np.where((images[-1] != 110).any(-1, keepdims=True), images[-1], images[0])
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / "in" / f"{name}.png")
    _, poses, _ = go(tmp_path / "in", tmp_path / "out", detector=FindsFigures())
    assert [[person["id"] for person in frame["persons"]] for frame in poses["frames"]] == [[1, 2], [1]]
    np.testing.assert_allclose(poses["frames"][0]["persons"][1]["joints"], OFFSETS + (300, 250), atol=1.5)


def test_very_many_persons(tmp_path):
    Image.fromarray(draw((200, 200), SIZE)).save(tmp_path / "a.png")
    rng = np.random.default_rng(0)
    boxes = [
        {"image_id": "a.png", "category_id": 1, "bbox": [*rng.uniform(0, 300, 2), 50, 60], "score": 0.9}
        for _ in range(300)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    _, poses, _ = go(tmp_path / "a.png", tmp_path / "out", detector=BoxFile(tmp_path / "boxes.json"))
    assert 1 <= len(poses["frames"][0]["persons"]) < 300, "all see the same five dots"


def test_boxes_that_do_not_fit_are_told(tmp_path):
    source = film(tmp_path / "a.mp4", UPPER[:5])
    (tmp_path / "det.txt").write_text("30,7,50,30,76,96,1\n")
    with pytest.raises(Problem, match="line 1: there is no frame 29; the source has 5 frames"):
        go(source, tmp_path / "out", detector=BoxFile(tmp_path / "det.txt"))
    assert not list((tmp_path / "out").iterdir())
    # of a later frame, which is not decoded for its boxes
    (tmp_path / "det.txt").write_text("1,7,50,30,76,96,1\n3,7,900,900,76,96,1\n")
    with pytest.raises(Problem, match="line 2: the box lies outside of the picture, 480x400"):
        go(source, tmp_path / "out", detector=BoxFile(tmp_path / "det.txt"))


def test_two_persons_in_exactly_one_place_and_identities_that_jump(tmp_path):
    """Equal boxes see the same person, who is told once; the numbers of a file are kept."""
    source = film(tmp_path / "a.mp4", UPPER[:5], LOWER[:5])
    rows = mot(tmp_path / "det.txt", UPPER[:5], UPPER[:5], LOWER[:5]).read_text()
    (tmp_path / "det.txt").write_text(re.sub(r",(\d),", lambda m: f",{'013'[int(m[1]) - 4]},", rows))
    _, poses, _ = go(source, tmp_path / "out", detector=BoxFile(tmp_path / "det.txt"))
    assert [[person["id"] for person in frame["persons"]] for frame in poses["frames"]] == [[0, 3]] * 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((Path("a"), "own", None), "two sources of persons"),
        ((None, None, "some"), "neither largest, all, nor a number"),
        ((None, None, "0"), "neither largest, all, nor a number"),
        ((None, "none.onnx", None), "none.onnx"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises((Usage, Problem), match=message):
        persons.chosen(*options)


@pytest.mark.parametrize(("options", "word"), [({"bbox": (0, 0, 90, 90)}, "--bbox"), ({"maps": "all"}, "--maps")])
def test_what_is_for_one_person_is_refused(tmp_path, options, word):
    boxes = mot(tmp_path / "det.txt", UPPER[:2])
    with pytest.raises(Usage, match=f"{word} .* of one person"):
        predictor.run(tmp_path / "a.mp4", tmp_path, tmp_path / "out", boxes=boxes, **options)
    assert not (tmp_path / "out").exists()


def test_one_person_is_found_by_the_network_itself():
    assert persons.chosen(None, None, None) == (None, None)
    assert persons.chosen(None, None, "largest") == (None, 1)
