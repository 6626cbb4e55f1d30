"""Skeleton networks: names for checks of exactness; see the project's own modules for the work."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx

import torch_ref
from jaxhar import inference, port, zoo
from jaxhar.core import volume as volumes
from jaxhar.core.skeleton import COCO
from jaxhar.data import uniform
from jaxhar.data.body_axes import body_axes
from jaxhar.data.formats import skeleton_pickle as annotations
from jaxhar.data.ntu import bodies
from jaxhar.data.ntu import folder as ntu
from jaxhar.data.pyskl import views as pose_views
from jaxhar.evaluation import class_metrics
from jaxhar.host.errors import Problem
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.optim import Optimizer
from jaxhar.training.schedules import lagging_cosine
from jaxhar.training.step import TrainState, make_step
from jaxhar.weights.net import Net
from jaxhar.weights.state_dict import read_pth
from parity_tests.cases import QUICKLY

#: Fields of the cases -> our names.
_FIELDS = {
    "classes": "num_actions",
    "joints": "num_joints",
    "frames": "num_frames",
    "bodies": "num_persons",
}
#: Smallest score of a joint that is drawn.
_EPSILON = {uniform.Style.MMACTION2: 1e-4, uniform.Style.PYSKL: 1e-3}


@contextmanager
def _as_value_errors() -> Iterator[None]:
    try:
        yield
    except Problem as problem:
        raise ValueError(str(problem)) from problem


def configure(name: str, fields: Mapping[str, Any]) -> Any:
    """A network's settings; fields that its family lacks are ignored."""
    config = zoo.config(name)
    given = {_FIELDS.get(key, key): tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
    known = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    return dataclasses.replace(config, **{key: value for key, value in given.items() if key in known})  # type: ignore[type-var]


def load_torch(path: str | Path, config: Any) -> nnx.Module:
    """A network from an original's file; strict."""
    return port.from_flat(port.from_torch(read_pth(Path(path)).arrays, config), config)


def _batch(x: Any) -> dict[str, np.ndarray]:
    """Skeletons (B, T, M, V, 3), a volume (B, T, H, W, C) of more than 3 channels, or a pair of frames and volume."""
    if isinstance(x, tuple | list):
        return {"frames": np.asarray(x[0]), "volume": np.asarray(x[1])}
    x = np.asarray(x)
    return {"points" if x.shape[-1] == 3 else "volume": x}


def infer(model: Any, x: Any) -> Any:
    """Logits (B, classes); for a pair of frames and volume those of both paths, (by frames, by skeletons)."""
    return _heads(np.asarray(inference.forward(*inference.prepare(model), _batch(x))["action"]))  # type: ignore[arg-type]


def _heads(action: np.ndarray) -> Any:
    return action[0] if len(action) == 1 else (action[1], action[0])


def twin_infer(path: str | Path, config: Any, x: Any) -> Any:
    """The same by the PyTorch twin."""
    name = next(name for name in zoo.names() if type(zoo.config(name)) is type(config))
    net = torch_ref.create(name, **dataclasses.asdict(config)).eval()
    state = {key: torch.from_numpy(array) for key, array in read_pth(Path(path)).arrays.items()}
    net.load_state_dict(state)
    tensors = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in _batch(x).items()}
    if "frames" in tensors:
        tensors["frames"] = tensors["frames"].movedim(-1, 2)
    with torch.no_grad():
        return _heads(net(**tensors)["action"].numpy())


def training_step(
    path: str | Path,
    config: Any,
    x: np.ndarray,
    y: np.ndarray,
    optimizer: Mapping[str, float],
    steps: int = 1,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Losses of some steps of SGD, the gradients of the first, weights and statistics after it."""
    with jax.enable_x64(dtype == "float64"):
        kind = jnp.dtype(dtype)
        config = dataclasses.replace(config, dropout=0.0)
        net = Net(zoo.create(config, dtype=kind))
        flat = port.from_torch(read_pth(Path(path)).arrays, config)
        for held in (net.params, net.stats):
            held.update({name: jnp.asarray(flat[name], kind) for name in held if name in flat})
        inputs: Any = {key: jnp.asarray(value, kind) for key, value in _batch(x).items()}
        batch: Any = {**inputs, "action": jnp.asarray(y, jnp.int32)}
        losses = Multitask()

        def total(params: Any) -> jax.Array:
            model: Any = net.merge(params, net.stats)
            return losses(model(batch), batch)["action"].mean()

        gradient = jax.jit(jax.grad(total), compiler_options=QUICKLY)(net.params)
        decay = optimizer.get("weight_decay") or 0.0
        rule = Optimizer(
            optax.sgd,
            options={"momentum": optimizer.get("momentum") or None},
            learning_rate=optimizer["lr"],
            clip_norm=optimizer.get("clip"),
            decay=((".*", decay),) if decay else (),
            decoupled=False,
        ).build(net.params, steps)
        step = make_step(net, losses, rule)
        state = jax.tree.map(jnp.copy, TrainState(net.params, net.stats, rule.init(net.params), jnp.int32(0)))
        found, after = [], {}
        for number in range(steps):
            state, metrics = step(state, {"one": batch})
            found.append(float(metrics["one/action"]))
            if number == 0:
                after = _in_torch(
                    {name: array for name, array in (state.params | state.stats).items() if name in flat}, config
                )
        return {"losses": np.array(found), "grad": _in_torch(gradient, config), "after1": after}


def _in_torch(arrays: Mapping[str, jax.Array], config: Any) -> dict[str, np.ndarray]:
    return port.to_torch({name: np.array(array) for name, array in arrays.items()}, config)


def file_order(path: str | Path) -> np.ndarray:
    """(frames, 3, 25, 3) float32 in the order of the file."""
    with _as_value_errors():
        return bodies.file_order(Path(path))


def clean(path: str | Path, style: str) -> np.ndarray | None:
    """(M, T, 25, 3) float16 by the rules of 'pyskl' or 'mmaction2'."""
    with _as_value_errors():
        return bodies.clean(Path(path), bodies.Cleaning(style))


def prenormalize(points: np.ndarray) -> np.ndarray:
    """(M, T, 25, 3) in axes of the body."""
    return body_axes(points)


def sample_segments(length: int, n: int, u: np.ndarray) -> np.ndarray:
    """(n,) frame numbers."""
    with _as_value_errors():
        return uniform.segments(length, n, u)


def split(names: Iterable[str], division: str, part: str, exclude: Collection[str] = ()) -> dict[str, int]:
    """The samples of one part of 'xsub' or 'xview', with their labels."""
    divisions = {"xsub": ntu.Division.CROSS_SUBJECT, "xview": ntu.Division.CROSS_VIEW}
    side = "train" if part == "train" else "test"
    stems = [name.removesuffix(".skeleton") for name in names]
    chosen = [name for name in stems if ntu.is_name(name) and name not in set(exclude)]
    return {name: ntu.number(name, "A") - 1 for name in chosen if ntu.side(name, divisions[division]) == side}


def read(path: str | Path, split: str | None = None) -> list[dict[str, Any]]:
    """Annotations of a pickle."""
    with _as_value_errors():
        return annotations.read(Path(path), split)


def sample_test(frames: int, n: int, clips: int, style: str = "mm") -> np.ndarray:
    """(clips * n,) frame numbers of evaluation."""
    with _as_value_errors():
        return uniform.fixed_clips(frames, n, clips, uniform.Style(style)).ravel()


def views(
    annotation: Mapping[str, Any],
    style: str = "mm",
    mode: str = "test",
    clip_len: int = 48,
    clips: int = 10,
    limb: bool = False,
    frame_inds: np.ndarray | None = None,
    crop: Sequence[int] | None = None,
    flip: bool | None = None,
) -> dict[str, np.ndarray]:
    """Frame numbers, points (M, N, 17, 2) before the volume, and the volumes (views, T, H, W, 17) of an annotation."""
    count = clips if mode == "test" else 1
    if mode != "train":
        frame_inds = sample_test(annotation["total_frames"], clip_len, count, style)
    assert frame_inds is not None
    points, score = annotation["keypoint"], annotation["keypoint_score"]
    joints = pose_views.chosen(points, score, annotation["img_shape"], np.asarray(frame_inds))
    if mode == "train":
        left, top, right, bottom = crop or (0, 0, 0, 0)
        joints = pose_views.short_side(pose_views.compact(joints))
        joints = pose_views.for_training(joints, (left, top, right, bottom), (56, 56), bool(flip), COCO.flip)
    else:
        joints = pose_views.for_evaluation(joints, (64, 64), uniform.Style(style))
    limbs = volumes.COCO_LIMBS if limb else ()
    maps = volume(joints.points, joints.score, joints.shape, 0.6, limbs, _EPSILON[uniform.Style(style)])
    maps = maps.reshape(count, clip_len, *maps.shape[1:])
    if mode == "test":
        other = np.asarray(volumes.mirrored(maps, volumes.partners(COCO.flip.tolist(), limbs)))
        maps = np.concatenate([maps, other])
    return {"frame_inds": np.asarray(frame_inds), "keypoint": joints.points, "volume": maps}


def volume(
    keypoint: np.ndarray,
    score: np.ndarray | None,
    shape: tuple[int, int],
    sigma: float = 0.6,
    limbs: Sequence[tuple[int, int]] | None = None,
    eps: float = 1e-4,
    scaling: float = 1.0,
) -> np.ndarray:
    """(T, h, w, channels) float32."""
    points = np.moveaxis(np.asarray(keypoint), 0, 1)
    given = np.ones(points.shape[:-1], np.float32) if score is None else np.moveaxis(np.asarray(score), 0, 1)
    pairs = tuple((int(a), int(b)) for a, b in limbs or ())
    height, width = map(int, shape)
    return np.asarray(volumes.encode(points, given, (height, width), sigma, pairs, eps, scaling), np.float32)


def unpack(
    keypoint: np.ndarray,
    frame_inds: np.ndarray,
    keep: np.ndarray,
    frames: int,
    squeeze: bool = True,
    max_people: int = annotations.MOST_PERSONS,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Keypoint (M, T, 17, 2), score (M, T, 17) and T of a clip of Kinetics."""
    return annotations.unpack(keypoint, frame_inds, keep, frames, squeeze, max_people)


def top_k(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of the samples whose class is among the k best."""
    return class_metrics.top_k(scores, labels, k)


def mean_class(scores: np.ndarray, labels: np.ndarray, over: str = "labels") -> float:
    """Mean over the classes that occur as 'labels', or are 'seen' as label or prediction."""
    return class_metrics.mean_class(scores, labels, "labels" if over == "labels" else "seen")


def schedule(kind: str, base: float, warmup: int, total: int) -> Callable[[int], float]:
    """The learning rate of every step."""
    rule = lagging_cosine(base, total, warmup) if kind == "skeleton" else optax.cosine_decay_schedule(base, total)
    return lambda step: float(rule(step))
