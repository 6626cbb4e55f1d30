"""Checks of one data set for `jaxhar doctor`: every example must agree with its record.

The joints of an example are mapped back to its frames by its own affine map, depth and camera, and compared by name
with the joints of the record. Its pixels are compared, too. These checks do not use the code that makes examples.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from jaxhar.core import geometry
from jaxhar.core.batch import Batch, to_image
from jaxhar.core.camera import Camera
from jaxhar.core.pixels import Pixels
from jaxhar.core.prepared import Prepared
from jaxhar.core.skeleton import Skeleton
from jaxhar.data import transforms
from jaxhar.data.dataset import PreparedSet
from jaxhar.data.records import pictures
from jaxhar.evaluation.world import in_world

#: Largest difference between a joint mapped back and the record's, in pixels and mm: the rounding of float32.
PIXELS, MILLIMETRES = 0.02, 0.05
#: Smallest median correlation between crops and the frames resampled by their maps; smallest shares of joints inside
#: of their frames and crops.
ALIKE, IN_FRAME, IN_CROP = 0.9, 0.9, 0.5


@dataclass(frozen=True)
class Finding:
    """The result of one check, a line of the table; `found` is "" if the check does not apply to the data."""

    check: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Case:
    """An example (without batch axis), its record, frame indices and augmentation."""

    record: dict
    frames: list[int]
    draw: transforms.Draw
    example: dict


def training_cases(prepared: PreparedSet, count: int, seed: int) -> Iterator[Case]:
    """Augmented examples of random records; single frames and clips alternate if the data has clips."""
    data, source = prepared.config, prepared.records("train")
    rng = np.random.default_rng(seed)
    for n in range(count):
        record = source[int(rng.integers(len(source)))]
        length = record["length"]
        if n % 2 and not data.stacks:
            draw = data.augment.draw(rng)
            frames = data.train_frames(length, draw, rng)
        else:
            draw, frames = data.augment_stills.draw(rng), [int(rng.integers(length))]
        draw = dataclasses.replace(draw, occluder=None)
        yield Case(record, frames, draw, data.example(record, frames, draw))


def evaluation_cases(prepared: PreparedSet, count: int) -> Iterator[Case]:
    """Middle clips of records spread over the split; the crops of all views alternate."""
    data, split = prepared.config, prepared.eval_split
    source = prepared.records(split)
    draws = [data.augment.fixed(), data.augment.fixed(flip=True)]
    draws += [draw for crops in data.crop_views().values() for draw in crops]
    for n in np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int)).tolist():
        record = {**source[n], "split": split}
        frames = data.windows("single", record["length"])[0][0]
        draw = draws[n % len(draws)]
        yield Case(record, frames, draw, data.example(record, frames, draw, keep_outside=True))


def other_side(joint: str) -> str:
    """The name of the same joint on the other side; a joint in the middle is its own."""
    return {"r_": "l_", "l_": "r_"}.get(joint[:2], joint[:2]) + joint[2:]


def truth(case: Case, layout: Skeleton, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """The joints of an example by its record: points (T, J, D) in its frames, labelled (T, J)."""
    names = [other_side(name) if case.draw.flip else name for name in skeleton.joints]
    points, labelled = case.record["points"][case.frames].astype(np.float64), case.record["labelled"][case.frames]
    known = np.array([name in layout.joints for name in names])
    index = [layout.joints.index(name) if name in layout.joints else 0 for name in names]
    return points[:, index], labelled[:, index] & known


def joints_in_frames(case: Case) -> np.ndarray:
    """(T, J, 2) the joints of an example, mapped back to its frames."""
    return to_image(case.example["affine"], case.example["pose"])


def check_examples(
    prepared: PreparedSet, count: int, seed: int = 0, trained: bool = True
) -> tuple[list[Finding], list[Case]]:
    """Run all checks of one data set; returns the findings and the cases that were checked.

    Args:
      count: number of training and of evaluation examples.
      trained: whether the network learns its actions, so that every class must occur.
    """
    training, evaluation = list(training_cases(prepared, count, seed)), list(evaluation_cases(prepared, count))
    cases = training + evaluation
    findings = [splits(prepared), classes(prepared, trained), numbers(cases, prepared), labels(cases, prepared)]
    layout, skeleton = prepared.config.layout, prepared.skeleton
    pictured = all("frames" in case.example for case in cases)
    posed = pictured and all("pose" in case.example for case in cases)
    if layout is not None and skeleton is not None and posed:
        inside_only = not prepared.config.keeps_outside
        findings.append(crops(training, layout, skeleton, "training crops", inside_only))
        findings.append(crops(evaluation, layout, skeleton, "evaluation crops", inside_only=False))
    if pictured:
        findings += [pixels(cases), mirror(evaluation[:8], prepared)]
    if layout is not None and skeleton is not None and posed:
        findings += [in_sight(evaluation), space(cases, layout, skeleton)]
    findings.append(stream_order(prepared))
    return [finding for finding in findings if finding.found], cases


def splits(prepared: Prepared) -> Finding:
    """Training and evaluation share no sequence, and no person or no camera."""
    train, test = list(prepared.entries("train")), list(prepared.entries(prepared.eval_split))
    counts = f"{len(train):,} train, {len(test):,} {prepared.eval_split}"
    if not train or not test:
        return Finding("splits", f"{counts}: one split is empty", False)
    twice = {e["name"] for e in train} & {e["name"] for e in test}
    if twice:
        return Finding("splits", f"{counts}; {len(twice)} sequences are in both, e.g. {min(twice)}", False)
    keys: Mapping[str, Callable[[Any], Any]] = prepared.config.groups() if isinstance(prepared, PreparedSet) else {}
    known = {name: key for name, key in keys.items() if any(key(entry) != -1 for entry in train + test)}
    apart = [n for n, key in known.items() if not ({key(e) for e in train} & {key(e) for e in test}) - {-1}]
    if known and not apart:
        return Finding("splits", f"{counts}; both splits share some {' and some '.join(known)}", False)
    return Finding("splits", f"{counts}; no {' and no '.join(('sequence', *apart))} is in both", True)


def classes(prepared: PreparedSet, trained: bool) -> Finding:
    """Every class occurs in training and in evaluation; in generated data, every class that occurs at all."""
    names = prepared.actions
    if not names or not trained:
        return Finding("classes", "", True)
    if len(set(names)) < len(names):
        return Finding("classes", f"two of the {len(names)} classes have the same name", False)
    train, test = (
        Counter(e["action"] for e in prepared.entries(split) if e["action"] != -1)
        for split in ("train", prepared.eval_split)
    )
    wrong = [action for action in (train | test) if not 0 <= action < len(names)]
    if wrong:
        return Finding("classes", f"a sequence has the label {wrong[0]}, but there are {len(names)} classes", False)
    generated = prepared.config.root is None and prepared.config.synth is not None
    expected = set(train) | set(test) if generated else set(range(len(names)))
    missing = {"training": expected - set(train)} | ({} if generated else {"evaluation": expected - set(test)})
    words = [
        f"{len(gone)} have no {where} example (e.g. {names[min(gone)]})" for where, gone in missing.items() if gone
    ]
    few = min(train.values(), default=0)
    found = (
        f"{len(set(train))} of {len(names)} in training with at least {few} examples each, "
        f"{len(set(test))} in evaluation"
    )
    return Finding("classes", "; ".join([found, *words]), not words)


def numbers(cases: list[Case], prepared: PreparedSet) -> Finding:
    """All values are finite, frames are in [-1, 1] and not blank, shapes are as configured."""
    data, joints = prepared.config, len(prepared.skeleton or ())
    size = (data.image_size,) * 2 if isinstance(data.image_size, int) else data.image_size
    wrong: Counter[str] = Counter()
    pictured = False
    for case in cases:
        example, length = case.example, len(case.frames)
        for name, value in example.items():
            if np.issubdtype(np.asarray(value).dtype, np.floating) and not np.isfinite(value).all():
                wrong[f"{name} that is not finite"] += 1
        if "frames" in example:
            pictured = True
            frames = Pixels.SIGNED(Batch(frames=example["frames"]))
            wrong["frames outside of [-1, 1]"] += frames.min() < -1 or frames.max() > 1
            wrong["blank frames"] += frames.std() < 1e-3
        shapes = {
            "frames": (length, *size, 3),
            "pose": (length, joints, data.dims),
            "valid": (length, joints, data.dims),
            "visible": (length, joints),
            "affine": (length, 3, 3),
        }
        for name, shape in shapes.items():
            if name in example:
                wrong[f"{name} of shape {np.shape(example[name])}, not {shape}"] += np.shape(example[name]) != shape
    bad = [f"{count} with {what}" for what, count in wrong.items() if count]
    right = f"{len(cases)} examples are finite{', in [-1, 1]' * pictured} and have the right shapes"
    return Finding("numbers", "; ".join(bad) or right, not bad)


def labels(cases: list[Case], prepared: PreparedSet) -> Finding:
    """Actions equal those of the index; `visible` is true for labelled joints inside of the crop, and only these."""
    entries = {s: {e["name"]: e for e in prepared.entries(s)} for s in ("train", prepared.eval_split)}
    for case in cases:
        entry = entries[case.record.get("split", "train")][case.record["name"].decode()]
        action = int(case.example.get("action", -1))
        if action != entry["action"]:
            return Finding("labels", f"{entry['name']} has action {action}, its record {entry['action']}", False)
        if "visible" not in case.example:
            continue
        pose, valid = case.example["pose"][..., :2], case.example["valid"][..., :2].all(-1)
        inside = valid & ((pose > 0) & (pose < 1)).all(-1)
        if not np.array_equal(inside, case.example["visible"] > 0.5):
            return Finding(
                "labels", f"{entry['name']}: `visible` is not true exactly for labelled joints inside", False
            )
    checked = "actions and visibility" if any("visible" in case.example for case in cases) else "actions"
    return Finding("labels", f"{checked} of {len(cases)} examples agree with their records", True)


def crops(cases: list[Case], layout: Skeleton, skeleton: Skeleton, check: str, inside_only: bool) -> Finding:
    """Joints mapped back to the frames agree with the record, by name."""
    worst, name, count = 0.0, "", 0
    for case in cases:
        points, labelled = truth(case, layout, skeleton)
        pose, valid = case.example["pose"], case.example["valid"][..., :2].all(-1)
        try:
            found = joints_in_frames(case)
        except np.linalg.LinAlgError:
            return Finding(check, f"the affine map of {case.record['name'].decode()} has no inverse", False)
        expected = labelled
        if inside_only:
            place = geometry.apply(case.example["affine"].astype(np.float64), points[..., :2])
            margin = np.abs(place * (place - 1)).min(-1) < 1e-5  # at the edge, either label is right
            expected = np.where(margin, valid, labelled & ((place > 0) & (place < 1)).all(-1))
        if not np.array_equal(valid, expected):
            joint = skeleton.joints[int(np.argwhere(valid != expected)[0, -1])]
            return Finding(
                check, f"{case.record['name'].decode()}: `valid` of {joint} disagrees with the record", False
            )
        away = np.where(valid, np.linalg.norm(found - points[..., :2], axis=-1), 0)
        if away.size and (away.max() > worst or np.isnan(away).any()):
            worst, name = float(away.max()), f"{case.record['name'].decode()}, {skeleton.joints[away.max(0).argmax()]}"
        count += int(valid.sum())
        if not np.isfinite(pose).all():
            return Finding(check, f"{case.record['name'].decode()}: a joint is not a finite number", False)
    if not count:
        return Finding(check, "", True)
    right = worst <= PIXELS
    words = f"{count:,} joints mapped back to frames, largest error {worst:.4f} px" + ("" if right else f" ({name})")
    return Finding(check, words, right)


def pixels(cases: list[Case]) -> Finding:
    """The crop's middle frame correlates with the record's frame, resampled by the crop's map."""
    correlations = []
    for case in cases:
        example, middle = case.example, len(case.frames) // 2
        height, width = example["frames"].shape[1:3]
        (frame,) = pictures.frames(case.record, [case.frames[middle]])
        centre = geometry.translation(-0.5, -0.5)
        to_crop = centre @ geometry.scaling(width, height) @ example["affine"][middle] @ np.linalg.inv(centre)
        shrunk = 1 / np.sqrt(abs(np.linalg.det(to_crop[:2, :2])))
        frame = cv2.GaussianBlur(frame, (0, 0), max(0.4 * shrunk, 0.1))
        # blurred, because some crops have pixels at integers, and are not smoothed when they shrink
        resampled, crop = (
            cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float64)
            for image in (cv2.warpAffine(frame, to_crop[:2], (width, height)), example["frames"][middle])
        )
        if resampled.std() > 2:
            correlations.append(float(np.corrcoef(resampled.ravel(), crop.ravel())[0, 1]))
    if not correlations:
        return Finding("pixels", "", True)
    median = float(np.median(correlations))
    words = f"correlation of crops with their frames: median {median:.3f}, least {min(correlations):.3f}"
    return Finding("pixels", words, median >= ALIKE)


def mirror(cases: list[Case], prepared: PreparedSet) -> Finding:
    """The skeleton's flip exchanges left and right, and a mirrored example is the mirror image of the example."""
    skeleton = prepared.skeleton
    if skeleton is not None:
        for joint, partner in zip(skeleton.joints, (skeleton.joints[i] for i in skeleton.flip), strict=True):
            if partner != other_side(joint):
                return Finding("mirror", f"the skeleton's flip exchanges {joint} with {partner}", False)
        if not np.array_equal(skeleton.flip[skeleton.flip], np.arange(len(skeleton))):
            return Finding("mirror", "flipping the skeleton twice does not restore it", False)
    for case in cases:
        draw = dataclasses.replace(case.draw, flip=not case.draw.flip)
        flipped = prepared.config.example(case.record, case.frames, draw, keep_outside=True)
        name = case.record["name"].decode()
        if skeleton is not None and "pose" in flipped:
            pose = flipped["pose"][:, skeleton.flip].astype(np.float64)
            pose[..., 0] = np.where(flipped["valid"][:, skeleton.flip, 0], 1 - pose[..., 0], 0)
            if not np.allclose(pose, case.example["pose"], atol=1e-5):
                return Finding("mirror", f"{name}: the mirrored pose is not the mirror image", False)
        frames, mirrored = case.example["frames"], flipped["frames"]
        # some crops have pixels at integers, where x -> width - x leaves out the first column
        alike = (mirrored[:, :, ::-1], frames), (mirrored[:, :, :0:-1], frames[:, :, 1:])
        if not any(np.allclose(a, b, atol=1e-6) for a, b in alike):
            return Finding("mirror", f"{name}: the mirrored frames are not the mirror image", False)
    words = f"{'left and right fit; ' * (skeleton is not None)}{len(cases)} mirrored examples are mirror images"
    return Finding("mirror", words, True)


def in_sight(cases: list[Case]) -> Finding:
    """Most joints are inside of their frames and of their crops."""
    inside = total = shown = labelled_in_crops = 0
    for case in cases:
        points, labelled = case.record["points"][case.frames][..., :2], case.record["labelled"][case.frames]
        inside += int((labelled & ((points >= 0) & (points <= case.record["size"])).all(-1)).sum())
        total += int(labelled.sum())
        shown += int(case.example["visible"].sum())
        labelled_in_crops += int(case.example["valid"][..., 0].sum())
    if not total:
        return Finding("in sight", "", True)
    in_frames, in_crops = inside / total, shown / max(1, labelled_in_crops)
    words = f"{in_frames:.1%} of the joints are inside of their frames, {in_crops:.1%} of their crops"
    return Finding("in sight", words, in_frames >= IN_FRAME and in_crops >= IN_CROP)


def space(cases: list[Case], layout: Skeleton, skeleton: Skeleton) -> Finding:
    """Depths converted to mm agree with the record, and so do 3-D joints projected into the image by the camera."""
    depth_error, image_error, count = 0.0, 0.0, 0
    for case in cases:
        example = case.example
        if "depth" not in example:
            continue
        points, _ = truth(case, layout, skeleton)
        valid = example["valid"].all(-1)
        depth = example["depth"][:, None] + example["depth_range"] * (example["pose"][..., 2].astype(np.float64) - 0.5)
        depth_error = max(depth_error, float(np.abs(np.where(valid, depth - points[..., 2], 0)).max()))
        count += int(valid.sum())
        if "camera" in example:
            world = in_world(example, example["pose"])
            camera = Camera.from_vector(case.record["camera"])
            away = np.linalg.norm(camera.project(world)[..., :2] - points[..., :2], axis=-1)
            image_error = max(image_error, float(np.where(valid, away, 0).max()))
    if not count:
        return Finding("space", "", True)
    words = f"{count:,} depths, largest error {depth_error:.4f} mm"
    words += f"; projected by the camera {image_error:.4f} px" if "camera" in cases[0].example else ""
    return Finding("space", words, depth_error <= MILLIMETRES and image_error <= 5 * PIXELS)


def stream_order(prepared: PreparedSet, batch: int = 4) -> Finding:
    """The evaluation stream yields the examples of its sequences in order."""
    data, split = prepared.config, prepared.eval_split
    source = prepared.records(split)
    first = next(iter(prepared.eval_stream(split, "single", batch)))
    for i in range(min(batch, len(source))):
        record = {**source[i], "split": split}
        frames, draw = data.windows("single", record["length"])[0]
        example = data.example(record, frames, draw, keep_outside=True)
        for name in example.keys() - {"mask"}:
            if not np.array_equal(np.asarray(first[name])[i], example[name]):  # type: ignore[literal-required]
                return Finding("stream", f"{name} of sequence {i} in the stream differs from its record", False)
    return Finding("stream", "the evaluation stream yields the records in order", True)
