"""Generates scenes of one to six persons in COCO's format: annotations/person_keypoints_SPLIT.json, images/SPLIT/."""

import json
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jaxhar.core.skeleton import COCO, mapping
from jaxhar.data.formats.jpeg import encode
from jaxhar.data.generate import crowd, film
from jaxhar.data.generate.body import SKELETON
from jaxhar.data.generate.film import Synth
from jaxhar.host import files

PERSONS = (1, 6)
#: Share of the pictures in which there is nobody.
_EMPTY = 0.03
_FRAMES = 8  # length of the film of which a picture is one frame
#: A person is to be found if at least these shares are not covered, and within the picture.
_SHARE, _WITHIN = 0.25, 0.1
_JOINTS = mapping(SKELETON, COCO)
_NAMES = [
    name.replace("l_", "left_", 1) if name[:2] == "l_" else name.replace("r_", "right_", 1) for name in COCO.joints
]
_CATEGORY = {"id": 1, "name": "person", "keypoints": _NAMES, "skeleton": [[a + 1, b + 1] for a, b in COCO.limbs]}


def take(synth: Synth, number: int, split: str) -> tuple[crowd.Shot, tuple[int, int]]:
    """One picture: what is in it, and its (width, height), upright in a third of the pictures."""
    training = split == "train"
    rng = np.random.default_rng([synth.seed, number, 0 if training else 1, 60])
    first, count = (0, synth.train_performers) if training else (synth.train_performers, synth.test_performers)
    size = synth.size[::-1] if rng.uniform() < 1 / 3 else synth.size
    persons = int(rng.integers(PERSONS[0], PERSONS[1] + 1))
    known = rng.permutation(count)[:persons]
    chosen = [film.performer(synth.seed, first + int(known[k % len(known)])) for k in range(persons)]
    scene = crowd.random_scene(size, persons, _FRAMES, lambda k: chosen[k], rng, synth.clutter)
    if rng.uniform() < _EMPTY:
        scene = crowd.empty(scene)
    (shot,) = scene.shots([int(rng.integers(_FRAMES))])
    return shot, size


def annotation(seen: crowd.Seen) -> dict[str, object]:
    """COCO's entry of a person, without its numbers: bbox, keypoints (2 visible, 1 covered, 0 not in the picture)."""
    x1, y1, x2, y2 = (float(v) for v in seen.box)
    known = (_JOINTS >= 0) & seen.inside[_JOINTS]
    keypoints = [
        [round(float(seen.joints[j, 0]), 1), round(float(seen.joints[j, 1]), 1), 1 if seen.hidden[j] else 2]
        if k
        else [0, 0, 0]
        for j, k in zip(_JOINTS.tolist(), known.tolist(), strict=True)
    ]
    return {
        "category_id": 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
        "ignore": int(seen.share < _SHARE or seen.within < _WITHIN),
        "keypoints": [value for keypoint in keypoints for value in keypoint],
        "num_keypoints": int(known.sum()),
    }


def write(out: Path, synth: Synth, progress: bool = True) -> None:
    """Generate a data set into the folder `out`, made where it does not exist.

    A complete folder of the same settings is not changed, an incomplete one is written again.

    Raises:
      Problem: `out` holds something else or cannot be written to, or the settings are wrong.
    """
    out = Path(out)
    with film.output_folder(out, synth, "people") as finished:
        if finished:
            return
        for split, count in (("train", synth.train_sequences), ("val", synth.test_sequences)):
            (out / "images" / split).mkdir(parents=True, exist_ok=True)
            images: list[dict[str, object]] = []
            annotations: list[dict[str, object]] = []
            with film.parallel_map(count) as apply:
                found = apply(partial(_written, synth, split, out), range(count))
                for number, (size, entries) in enumerate(
                    tqdm(found, total=count, desc=f"drawing {split}", unit="picture", disable=not progress)
                ):
                    images.append({"id": number, "file_name": _name(number), "width": size[0], "height": size[1]})
                    for entry in entries:
                        annotations.append({"id": len(annotations) + 1, "image_id": number, **entry})
            tree = {"images": images, "annotations": annotations, "categories": [_CATEGORY]}
            files.write(out / "annotations" / f"person_keypoints_{split}.json", json.dumps(tree).encode())


def _name(number: int) -> str:
    return f"{number:06d}.jpg"


def _written(synth: Synth, split: str, out: Path, number: int) -> tuple[tuple[int, int], list[dict[str, object]]]:
    """Draw and write one picture; its size and the entries of its persons."""
    shot, size = take(synth, number, split)
    (out / "images" / split / _name(number)).write_bytes(encode(shot.image, film.QUALITY))
    return size, [annotation(seen) for seen in shot.people]
