"""Golden cases, and random networks and batches for comparing the implementations.

A golden case is a network that was built and run by deephar's code under Keras 2.1.4. CASE.json lists the weights and
their seeds, CASE.consts.npz contains the constant ones, CASE.npz the outputs.
"""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np

from jaxhar import port, zoo

GOLDEN = Path(__file__).parent / "golden"

#: Compiler options for functions that run once, to compile faster.
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

#: case -> (network of the zoo, changed settings)
CASES: dict[str, tuple[str, dict]] = {
    "pe2d_small": ("reception-mpii", {"num_blocks": 2}),
    "pe2d_master_small": ("reception-mpii", {"num_blocks": 2, "joint_prob": "avgpool4_max"}),
    "pe2d_ctx1_master_small": (
        "reception-mpii",
        {"num_blocks": 2, "joint_prob": "avgpool4_max", "num_context": 1, "kernel_size": 3},
    ),
    "pe3d_small": ("reception-h36m", {"num_blocks": 2}),
    "pe3d_master_small": ("reception-h36m", {"num_blocks": 2, "depth_grid": "centres"}),
    "ar_penn_small": ("reception-penn", {"num_blocks": 2, "num_frames": 8}),
    "ar_penn_master_small": ("reception-penn", {"num_blocks": 2, "num_frames": 8, "joint_prob": "avgpool4_max"}),
    "ar_ntu_small": ("reception-ntu", {"num_blocks": 2, "num_frames": 8, "depth_grid": "centres"}),
    "sp_penn_small": ("spnet-penn", {"num_pyramids": 2, "action_pyramids": (1, 2), "num_levels": 3}),
    "sp_ntu_small": (
        "spnet-ntu",
        {"num_frames": 16, "action_pyramids": (2,), "num_levels": 3, "growth": 64, "num_actions": (60, 15)},
    ),
}


def overrides(case: str) -> dict:
    """Settings that differ from the zoo."""
    return {"image_size": 128, **CASES[case][1]}


def config(case: str):
    """The settings of a case."""
    return dataclasses.replace(zoo.config(CASES[case][0]), **overrides(case))


def _meta(case: str) -> dict:
    return json.loads((GOLDEN / f"{case}.json").read_text())


def _value(weight: dict, gain: float) -> np.ndarray:
    """A weight from its seed: normal values rounded to multiples of 1/32, scaled depending on the kind."""
    shape, kind = tuple(weight["shape"]), weight["kind"]
    z = np.random.RandomState(weight["seed"]).standard_normal(shape)
    z = np.clip(np.round(z * 32) / 32, -127 / 32, 127 / 32)
    if kind == "gamma":
        value = 1 + 0.1 * z
    elif kind in ("beta", "moving_mean"):
        value = 0.1 * z
    elif kind == "moving_variance":
        value = np.exp(0.2 * z)
    elif kind == "bias":
        value = 0.05 * z
    elif kind == "kernel" or kind.endswith("_kernel"):
        fan_in = np.prod(shape[:2] if kind == "depthwise_kernel" else shape[:-1])
        value = z * np.sqrt(gain / fan_in)
    else:
        raise ValueError(f"no rule for weights of kind {kind}")
    return value.astype(np.float32)


def groups(case: str) -> list[tuple[str, list[tuple[str, np.ndarray]]]]:
    """The weight file of a case: [(group, [(weight name, value)])] in file order."""
    layout, constants = _meta(case)["layout"], np.load(GOLDEN / f"{case}.consts.npz")

    def value(group: str, weight: dict) -> np.ndarray:
        if weight["kind"] == "const":
            return constants[f"{group}//{weight['name']}"]
        return _value(weight, layout["gain"])

    return [(g["layer"], [(w["name"], value(g["layer"], w)) for w in g["weights"]]) for g in layout["groups"]]


def write_h5(groups: list[tuple[str, list[tuple[str, np.ndarray]]]], path: Path, text: bool = False) -> Path:
    """Writes weights as Keras' `save_weights`; names are bytes as in old h5py, or text as in new."""
    convert = (lambda names: list(names)) if text else (lambda names: np.array([n.encode() for n in names], "S"))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = convert([name for name, _ in groups])
        file.attrs["backend"] = "tensorflow" if text else b"tensorflow"
        file.attrs["keras_version"] = "2.1.4" if text else b"2.1.4"
        for name, weights in groups:
            group = file.create_group(name)
            group.attrs["weight_names"] = convert([weight for weight, _ in weights])
            for weight, value in weights:
                group.create_dataset(weight, data=value)
    return path


def frames(case: str) -> np.ndarray:
    """The input of a case."""
    meta = _meta(case)
    return mosaic(tuple(meta["input_shape"]), meta["seed"] + 12345)


def mosaic(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Frames (..., H, W, 3) in [-1, 1]: a coarse mosaic with noise."""
    rng = np.random.RandomState(seed)
    tiles = rng.uniform(-1, 1, (*shape[:-3], 16, 16, 3))
    tiles = tiles.repeat(shape[-3] // 16, axis=-3).repeat(shape[-2] // 16, axis=-2)
    return np.clip(tiles + 0.1 * rng.standard_normal(shape), -1, 1).astype(np.float32)


def expected(case: str) -> dict[str, np.ndarray]:
    """deephar's outputs in the form of `jaxhar.infer`."""
    stored = np.load(GOLDEN / f"{case}.npz")
    outputs = [stored[key] for key in sorted(stored)]
    if CASES[case][0].startswith("spnet"):
        settings = config(case)
        poses, action = np.stack(outputs[: len(settings.predictions)]), outputs[len(settings.predictions) :]
        sets = tuple(np.stack(action[i :: len(settings.num_actions)]) for i in range(len(settings.num_actions)))
        return {"pose": poses[..., :-1], "visible": poses[..., -1], "action": sets if len(sets) > 1 else sets[0]}
    if CASES[case][0] in ("reception-penn", "reception-ntu"):
        pose, visible, *action = outputs
        return {"pose": pose[None], "visible": visible[None, ..., 0], "action": np.stack(action)}
    if case == "pe2d_ctx1_master_small":  # pose and visibility of each block side by side
        blocks = np.stack(outputs)[:, :, None]
        return {"pose": blocks[..., :2], "visible": blocks[..., 2]}
    pose, visible = np.stack(outputs[::2]), np.stack(outputs[1::2])
    return {"pose": pose[:, :, None], "visible": visible[:, :, None, :, 0]}


def seeded_weights(config, seed: int = 0) -> port.Flat:
    """Random weights of a suitable scale and random running statistics for a network."""
    rng = np.random.default_rng(seed)
    flat = {}
    for name, shape in port.shapes(config).items():
        z = rng.standard_normal(shape).astype(np.float32)
        if name.endswith(".var"):
            flat[name] = np.exp(0.2 * z)
        elif name.endswith(("bias", "mean")):
            flat[name] = 0.1 * z
        elif name.endswith("scale"):
            flat[name] = 1 + 0.1 * z
        else:
            fan_in = np.prod(shape[:2] if name.endswith("depthwise.kernel") else shape[:-1])
            flat[name] = z / np.sqrt(fan_in, dtype=np.float32)
    return flat


def seeded_inputs(config, examples: int, frames: int | None = None, seed: int = 0) -> dict[str, np.ndarray]:
    """Random values in [-1, 1] for the inputs of a network."""
    rng = np.random.default_rng(seed)
    return {
        key: rng.uniform(-1, 1, like.shape).astype(like.dtype) for key, like in config.inputs(examples, frames).items()
    }


def seeded_batch(config, clips: int, time: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random frames and labels; coordinates without a label are NaN."""
    rng = np.random.default_rng(seed)
    joints, dims = config.pose_shape
    labelled = rng.random((clips, time, joints)) < 0.8
    valid = np.repeat(labelled[..., None], dims, -1)
    pose = rng.uniform(0.05, 0.95, valid.shape).astype(np.float32)
    if dims == 3:  # some joints have no depth label
        valid[..., 2] &= rng.random(labelled.shape) < 0.5
    pose[~valid] = np.nan
    batch = {
        "frames": rng.uniform(-1, 1, config.inputs(clips, time)["frames"].shape).astype(np.float32),
        "pose": pose,
        "visible": labelled.astype(np.float32),
        "valid": valid,
    }
    labels = [rng.integers(count, size=clips).astype(np.int32) for count in config.classes]
    if len(labels) > 1:
        labels[0][0] = -1  # the first clip has no label of the first set
        batch["action"] = tuple(labels)
    elif labels:
        batch["action"] = labels[0]
    return batch
