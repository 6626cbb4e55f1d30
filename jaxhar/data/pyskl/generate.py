"""Generates a pickle of pyskl's form: COCO's joints of generated persons in the pixels of a fixed camera."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from jaxhar.core.skeleton import COCO
from jaxhar.data.generate import scenes
from jaxhar.data.generate.body import SKELETON, Performance
from jaxhar.data.generate.film import Synth, axes_towards, output_folder
from jaxhar.host import files

FILE, CLASSES = "skeletons.pkl", "classes.txt"
#: Height and width of the picture, and the focal length in heights.
_SHAPE, _FOCAL = (1080, 1920), 1068 / 1080
#: Deviation of the joints' noise in pixels; share of the joints that are not found.
_NOISE, _MISSED = 4.0, 0.02


def coco_joints(performance: Performance) -> np.ndarray:
    """(T, 17, 3) in metres; the points of the face lie about the middle of the head."""
    joints = {name: performance.joints[:, i] for i, name in enumerate(SKELETON.joints)}
    face = performance.face / np.linalg.norm(performance.face, axis=-1, keepdims=True)
    up = joints["head"] - joints["neck"]
    up = up / np.linalg.norm(up, axis=-1, keepdims=True)
    right = np.cross(face, up)
    middle = 0.5 * (joints["head"] + joints["neck"])
    joints["nose"] = middle + 0.1 * face
    for side, sign in (("r", 1), ("l", -1)):
        joints[f"{side}_eye"] = middle + 0.09 * face + 0.03 * up + 0.03 * sign * right
        joints[f"{side}_ear"] = middle + 0.02 * up + 0.08 * sign * right
    return np.stack([joints[name] for name in COCO.joints], axis=1)


def _annotation(synth: Synth, take: scenes.Take) -> dict[str, Any]:
    rng = np.random.default_rng([synth.seed, take.setup, take.camera, take.subject, take.replication, take.action, 71])
    angle = np.deg2rad((-135, -90, -45)[take.camera - 1] + rng.uniform(-10, 10))
    distance, height = rng.uniform(3.4, 4.4), rng.uniform(1.0, 1.6)
    eye = np.array([distance * np.cos(angle), distance * np.sin(angle), height])
    axes = axes_towards(eye, np.array([0, 0, 1.0]))
    points = np.stack([coco_joints(one) for one in scenes.play(synth, take)])  # (M, T, 17, 3)
    seen = (points - eye) @ axes.T
    pixels = _FOCAL * _SHAPE[0] * seen[..., :2] / seen[..., 2:] + 0.5 * np.array(_SHAPE[::-1])
    pixels += rng.normal(0, _NOISE, pixels.shape)
    score = np.clip(rng.normal(0.85, 0.1, pixels.shape[:-1]), 0.1, 1)
    missed = rng.uniform(size=score.shape) < _MISSED
    return {
        "frame_dir": take.name,
        "label": take.action - 1,
        "img_shape": _SHAPE,
        "original_shape": _SHAPE,
        "total_frames": pixels.shape[1],
        "keypoint": np.where(missed[..., None], 0, pixels).astype(np.float16),
        "keypoint_score": np.where(missed, 0, score).astype(np.float16),
    }


def write(out: Path, synth: Synth) -> None:
    """Generates skeletons.pkl with the splits xsub_train and xsub_val, and classes.txt; see `output_folder`."""
    with output_folder(Path(out), synth, "pyskl") as finished:
        if finished:
            return
        takes = scenes.plan(synth)
        splits = {
            "xsub_train": [take.name for take in takes if take.trains],
            "xsub_val": [take.name for take in takes if not take.trains],
        }
        content = {"split": splits, "annotations": [_annotation(synth, take) for take in takes]}
        files.write(Path(out) / CLASSES, ("\n".join(scenes.ACTIONS) + "\n").encode())
        files.write(Path(out) / FILE, pickle.dumps(content, protocol=4))
