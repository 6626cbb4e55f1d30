"""How well several persons are followed: `python -m benchmarks.persons [--weights RUN]`, on films of three walkers.

Two of them cross, the third leaves the picture and comes back 0.4 seconds later. Printed are IDF1 and the number of
identities with true boxes and with the detector of the package; with true identities the joints of each person beside
those of the same person alone in the same film (PCK@0.2); the time, and that of three films of one. Without a network
only boxes are followed, without joints.

Persons of whom half or less is within the picture need not be found; a box that fits to one of them counts neither as
right nor as wrong. "All" counts every person of whom anything is in the picture. Joints are counted where at least 0.9
of the person is within the picture and nobody covers them, the same joints in both films; "free" are those of frames in
which nobody covers anything of the person.
"""

import argparse
import re
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import jaxhar
from jaxhar.core.boxes import overlap
from jaxhar.data.formats.source import open_file
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.generate import body
from jaxhar.data.generate.body import Performance
from jaxhar.data.generate.crowd import RATE, Actor, Scene, Shot, actor, moved
from jaxhar.data.generate.film import FilmCamera, performer
from jaxhar.evaluation.identities import idf1
from jaxhar.predict import persons
from jaxhar.predict.box_files import BoxFile
from jaxhar.predict.detector import Own
from jaxhar.predict.predictor import LoadedNetwork
from jaxhar.predict.result import Result
from jaxhar.predict.tables import outline

SIZE = (480, 360)
FRAMES = 100
FOCAL = 530.0


def walker(who: int, depth: float, path: np.ndarray, seed: int) -> Actor:
    """A person who walks along x = `path` (T,) in metres, looking where it goes."""
    rng = np.random.default_rng([seed, who])
    person = performer(seed, who)
    both = [actor(who, person, "walk", len(path), yaw, rng) for yaw in (-90, 90)]
    shape = (len(path), 1, 1)
    right = (np.gradient(path) >= 0).reshape(shape)

    def still(one: Actor) -> Performance:
        return moved(one.performance, -one.performance.joints.mean(1) * [1, 1, 0])

    ways = [still(one) for one in both]
    joints = np.where(right, ways[0].joints, ways[1].joints)
    face = np.where(right.reshape((-1,) + (1,) * (ways[0].face.ndim - 1)), ways[0].face, ways[1].face)
    at = np.stack([path, np.full(len(path), depth), np.zeros(len(path))], 1)
    return Actor(who, person, "walk", moved(Performance(joints, face), at))


def three_walkers(seed: int) -> Scene:
    """The film."""
    t = np.arange(FRAMES) / RATE
    there_and_back = 2.8 - 1.1 * np.abs(t - 1.64)
    paths = [(6.0, -2.0 + 1.0 * t), (7.2, 2.2 - 1.0 * t), (5.0, there_and_back)]
    actors = tuple(walker(who, depth, path, seed) for who, (depth, path) in enumerate(paths))
    axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    centre = np.tile([SIZE[0] / 2, SIZE[1] / 2 - 40.0], (FRAMES, 1))
    camera = FilmCamera(np.array([0, 0, 1.4]), axes, np.full(FRAMES, FOCAL), centre)
    return Scene(actors, camera, SIZE, 0.0, (seed, 0))


def write(scene: Scene, folder: Path) -> tuple[Path, Path, list[Shot]]:
    """The film, its true boxes as MOT text with identities (beside it unnamed.txt without them), and what is in it."""
    folder.mkdir(parents=True)
    shots = list(scene.shots())
    with VideoWriter(folder / "film.mp4", Fraction(int(RATE)), *SIZE) as writer:
        for n, shot in enumerate(shots):
            writer.write(np.ascontiguousarray(shot.image[..., ::-1]), n / RATE)
    lines = []
    for n, shot in enumerate(shots):
        for one in shot.people:
            x1, y1, x2, y2 = one.box
            lines.append(f"{n + 1},{one.identity + 1},{x1},{y1},{x2 - x1},{y2 - y1},1")
    (folder / "boxes.txt").write_text("\n".join(lines))
    unnamed = (re.sub(r"^(\d+),\d+", r"\1,-1", line) for line in lines)
    (folder / "unnamed.txt").write_text("\n".join(unnamed))
    return folder / "film.mp4", folder / "boxes.txt", shots


def predicted(net: LoadedNetwork, film: Path, **options) -> tuple[Result, float]:
    """What is found in a film, and the seconds it took."""
    begun = time.perf_counter()
    result = net.predict(film, **options)
    return result, time.perf_counter() - begun


def away(scene: Scene, but: int) -> Scene:
    """The same film with one person; the others are far outside of the picture."""
    far = np.array([1e3, 0, 0])
    actors = [a if n == but else replace(a, performance=moved(a.performance, far)) for n, a in enumerate(scene.actors)]
    return replace(scene, actors=tuple(actors))


def followed(shots: list[Shot], found: list[dict[int, np.ndarray]], within: float) -> float:
    """IDF1 for the persons of whom more than `within` is in the picture; boxes of the others do not count."""
    truth = [{one.identity: one.box for one in shot.people if one.within > within} for shot in shots]
    counted = []
    for shot, people, boxes in zip(shots, truth, found, strict=True):
        cut = np.array([one.box for one in shot.people if one.within <= within]).reshape(-1, 4)
        whole = np.array(list(people.values())).reshape(-1, 4)

        def near(box: np.ndarray, others: np.ndarray) -> float:
            return float(overlap(box[None], others).max(initial=0))

        counted.append({w: b for w, b in boxes.items() if near(b, cut) < max(0.5, near(b, whole))})
    return idf1(truth, counted)


def pck(result: Result, shots: list[Shot], who: int, free: bool) -> float:
    """Share of the joints of a person that lie within a fifth of its torso; `shots` say which ones nobody covers.

    Args:
      who: number of the person, whose identity is the next number. free: only frames in which nobody covers it.
    """
    names = result.skeleton.joints
    shared = [name for name in names if name in body.SKELETON.joints]
    ours, theirs = [names.index(n) for n in shared], [body.SKELETON.joints.index(n) for n in shared]
    hip, shoulder = (body.SKELETON.joints.index(name) for name in ("l_hip", "r_shoulder"))
    hits = total = 0
    for seen, shot in zip(result.frames, shots, strict=True):
        for true in shot.people:
            if true.identity != who or true.within < 0.9 or (free and true.share < 1):
                continue
            visible = (true.inside & ~true.hidden)[theirs]
            total += int(visible.sum())
            for person in seen.there:
                if person.id == who + 1:
                    torso = max(float(np.linalg.norm(true.joints[hip] - true.joints[shoulder])), 1.0)
                    distance = np.linalg.norm(person.pose[ours, :2] - true.joints[theirs], axis=-1)
                    hits += int(((distance <= 0.2 * torso) & visible).sum())
    return hits / max(total, 1)


def jointless(frames: np.ndarray) -> dict[str, np.ndarray]:
    """What a network says that finds no joint with any confidence in frames (B, T, H, W, 3)."""
    shape = (1, *frames.shape[:2], 1)
    return {"pose": np.zeros((*shape, 2)), "visible": np.zeros(shape)}


def of_boxes(films: int) -> Table:
    """How well boxes alone are followed."""
    table = Table("film", "persons from", "IDF1 (all)", "identities")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(films):
            film, boxes, shots = write(three_walkers(seed), Path(folder) / str(seed))
            for source, detector in (("true boxes", BoxFile(boxes.with_name("unnamed.txt"))), ("own detector", Own())):
                _, stretches = persons.find(open_file(film), detector, jointless, (16, 1), (64, 64), None, iter)
                found: list[dict[int, np.ndarray]] = [{} for _ in shots]
                for one in stretches:
                    assert one.outlines is not None
                    for frame, box in enumerate(one.outlines, one.first):
                        found[frame][one.id] = box
                score = f"{followed(shots, found, 0.5):.3f} ({followed(shots, found, -1):.3f})"
                table.add_row(str(seed), source, score, str(len({who for frame in found for who in frame})))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="a pose network, e.g. runs/joints-demo")
    parser.add_argument("--films", type=int, default=3)
    args = parser.parse_args()
    if args.weights is None:
        Console(width=130).print(of_boxes(args.films))
        return
    net = jaxhar.load(args.weights)
    table = Table("film", "persons from", "IDF1 (all)", "identities", "PCK (alone)", "free (alone)", "seconds (alone)")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.films):
            place = Path(folder) / str(seed)
            scene = three_walkers(seed)
            film, boxes, shots = write(scene, place)
            alone, seconds = [], 0.0
            for who in range(3):
                single, file, _ = write(away(scene, who), place / f"alone{who}")
                result, took = predicted(net, single, boxes=file)
                alone.append(result)
                seconds += took
            for source, options in (
                ("true boxes and identities", {"boxes": boxes}),
                ("true boxes", {"boxes": boxes.with_name("unnamed.txt")}),
                ("own detector", {"detector": "own"}),
            ):
                result, took = predicted(net, film, **options)
                found = [{one.id: outline(one) for one in seen.there} for seen in result.frames]
                ids = {who for frame in found for who in frame}
                told = ["", ""]
                if options.get("boxes") == boxes:
                    told = [
                        "\n".join(
                            f"{pck(result, shots, who, free):.3f} ({pck(alone[who], shots, who, free):.3f})"
                            for who in range(3)
                        )
                        for free in (False, True)
                    ]
                score = f"{followed(shots, found, 0.5):.3f} ({followed(shots, found, -1):.3f})"
                table.add_row(str(seed), source, score, str(len(ids)), *told, f"{took:.1f} ({seconds:.1f})")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
