"""Simple Baselines and multi-view pose: names for checks of exactness; see the project's own modules for the work."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx

import torch_ref
from jaxhar import infer as run
from jaxhar import port, zoo
from jaxhar.core import gaussian, structures
from jaxhar.core import triangulate as triangulation
from jaxhar.core.batch import to_image
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import H36M17
from jaxhar.data import centre_crop
from jaxhar.data.mpii import mat
from jaxhar.data.multiview.settings import MPIIGroups, MultiView
from jaxhar.data.records.reader import as_read
from jaxhar.data.records.record import Folder
from jaxhar.data.transforms import Draw
from jaxhar.evaluation import pckh_rows
from jaxhar.evaluation.detection import detected
from jaxhar.models.multiview import network as multiview
from jaxhar.training.losses.maps import squared_error
from jaxhar.training.step import TrainState, make_step
from jaxhar.weights.net import Net
from jaxhar.weights.state_dict import read_pth


def configure(name: str, fields: Mapping[str, Any]) -> Any:
    """A network's settings; fields that its family lacks are ignored."""
    config, given = zoo.config(name), dict(fields)
    known = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    if "heatmap_size" in given and "image_size" not in given:
        size = given["heatmap_size"]
        given["image_size"] = 4 * size if isinstance(size, int) else tuple(4 * side for side in size)
    if "deconv_kernels" in given and "deconv_filters" not in given:
        filters = config.deconv_filters[:1] * len(given["deconv_kernels"])  # type: ignore[attr-defined]
        given["deconv_filters"] = filters
    return dataclasses.replace(config, **{key: value for key, value in given.items() if key in known})  # type: ignore[type-var]


def load_torch(path: str | Path, config: Any) -> nnx.Module:
    """A network from an original's state dict; strict."""
    return port.from_flat(port.from_torch(read_pth(Path(path)).arrays, config), config)


def infer(model: Any, frames: np.ndarray) -> dict[str, np.ndarray]:
    """Heat maps (B, [V,] J, S, S) of frames uint8 RGB (B, [V,] H, W, 3)."""
    return _with_joints_first(run(_of_size(model, frames), frames), frames.ndim)


def _of_size(model: Any, frames: np.ndarray) -> nnx.Module:
    """The same network for frames of another size, if it does not depend on it."""
    config = model.config
    if config.size == frames.shape[-3:-1]:
        return model
    return port.from_flat(port.to_flat(model), dataclasses.replace(config, image_size=frames.shape[-3:-1]))


def twin_infer(path: str | Path, config: Any, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The same by the PyTorch twin."""
    state = port.to_torch(port.from_torch(read_pth(Path(path)).arrays, config), config)
    name = next(name for name in zoo.names() if type(zoo.config(name)) is type(config))
    net = torch_ref.create(name, **dataclasses.asdict(config))
    net.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()}, strict=False)
    return _with_joints_first(torch_ref.infer(net, frames), frames.ndim)


def _with_joints_first(preds: Mapping[str, Any], rank: int) -> dict[str, np.ndarray]:
    maps = np.moveaxis(preds["maps"], -1, -3)
    maps = maps[:, :, 0] if rank == 4 else maps
    return {"heatmaps": maps[-1], **({"raw_heatmaps": maps[0]} if len(maps) > 1 else {})}


def fuse(maps: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Fused maps (B, 4, J, S, S) by 12 matrices."""
    fused = multiview.fuse(jnp.moveaxis(jnp.asarray(maps), 2, -1), list(map(jnp.asarray, matrices)))
    return np.moveaxis(np.asarray(fused), -1, 2)


def gaussian_targets(
    joints: np.ndarray, visible: np.ndarray, image_size: int, heatmap_size: int, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Target maps (B, J, S, S) and weights (B, J) of joints in pixels."""
    cells = jnp.asarray(np.asarray(joints) * (heatmap_size / image_size))
    maps, weights = gaussian.encode(cells, jnp.asarray(visible), (heatmap_size, heatmap_size), sigma)
    return np.moveaxis(np.asarray(maps), -1, 1), np.asarray(weights)


def legacy_lip_targets(joints: np.ndarray, present: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Target maps (16, 64, 64) of a LIP image of size (h, w) by the original's border rule."""
    cells = jnp.asarray(64 * np.asarray(joints, np.float64) / np.asarray(size)[::-1])
    return np.moveaxis(np.asarray(gaussian.encode_lip(cells, jnp.asarray(present), (64, 64), legacy=True)), -1, 0)


def joints_mse(prediction: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """The sum over the joints of the mean over samples and pixels."""
    maps, aims = (jnp.moveaxis(jnp.asarray(a), -3, -1) for a in (prediction, target))
    return float(squared_error(maps, aims, jnp.asarray(weight).reshape(len(maps), -1)).mean(0).sum())


def argmax(maps: np.ndarray, quarter: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Cells (B, J, 2) and values (B, J)."""
    cells, value = gaussian.decode(jnp.moveaxis(jnp.asarray(maps), -3, -1), "quarter" if quarter else "argmax")
    return np.asarray(cells), np.asarray(value)


def detection_rate(pred: np.ndarray, gt: np.ndarray, threshold: float) -> np.ndarray:
    """Share of each joint (J,) within `threshold` pixels, (N, J, 2) each."""
    return detected(pred, gt, threshold).mean(0)


def pckh(pred: np.ndarray, gt: np.ndarray, visible: np.ndarray, headbox: np.ndarray) -> dict[str, float]:
    """The paper's rows; predictions count from 0, the truth from 1."""
    return pckh_rows.rows(
        np.asarray(pred) + 1, gt, np.asarray(visible, bool), mat.head_size(headbox[:, 0], headbox[:, 1])
    )


def crop_matrix(center: np.ndarray, scale: np.ndarray | float, rotation: float, size: tuple[int, int]) -> np.ndarray:
    """(2, 3), crop pixels from image pixels."""
    return centre_crop.crop_matrix(center, scale, rotation, size)


def _listed(root: str | Path, split: str, dataset: str) -> list[tuple[MultiView | MPIIGroups, Folder, Any, int]]:
    """The groups of a data set: settings, folder, group, and the number of entries of files before its own."""
    found: list[tuple[MultiView | MPIIGroups, Folder, Any, int]] = []
    before = 0
    settings = {
        "mixed": (MultiView(), MPIIGroups()),
        "multiview_h36m": (MultiView(),),
        "multiview_mpii": (MPIIGroups(),),
    }
    for data in settings[dataset]:
        folder = data.open(Path(root))
        items, _ = folder.scan(False)
        found += [(data, folder, group, before) for group in items if group.split == split]
        before += folder.counts.get(f"photos, {split}", 0)
    return found


def groups(root: str | Path, split: str, dataset: str) -> np.ndarray:
    """(G, 4) indices in the label files, those of MPII after those of Human3.6M."""
    return np.array([np.array(group.numbers) + before for _, _, group, before in _listed(root, split, dataset)])


def item(
    root: str | Path, split: str, dataset: str, group: int, image_size: int, heatmap_size: int, sigma: float
) -> dict[str, np.ndarray]:
    """One group: image (4, S, S, 3) uint8 RGB, target (4, 20, h, h), weight (4, 20)."""
    data, folder, chosen, _ = _listed(root, split, dataset)[group]
    record, _ = folder.load(chosen, False)
    assert record is not None
    data = dataclasses.replace(data, image_size=image_size)
    example = data.example(as_read(record), [0, 1, 2, 3], Draw())
    size = (heatmap_size, heatmap_size)
    maps, weight = gaussian.encode(example["pose"] * heatmap_size, example["visible"], size, sigma)
    return {"image": example["frames"], "target": np.moveaxis(np.asarray(maps), -1, 1), "weight": np.asarray(weight)}


def _camera(given: Mapping[str, Any]) -> Camera:
    rotation, centre, focal, middle, radial, tangential = (
        np.ravel(given[key]) for key in ("R", "T", "f", "c", "k", "p")
    )
    return Camera(rotation, centre, focal, middle, radial, tangential)


def project(points: np.ndarray, camera: Mapping[str, Any]) -> np.ndarray:
    """Pixels (N, 2) of world points in mm, with the original's lens."""
    return _camera(camera).original_lens().project(points)[..., :2]


def triangulate(cameras: Sequence[Mapping[str, Any]], pixels: np.ndarray) -> np.ndarray:
    """World points (J, 3) in mm."""
    return triangulation.triangulate([_camera(c).original_lens() for c in cameras], pixels, unit=1.0).points


def rpsm(
    cameras: Sequence[Mapping[str, Any]],
    heatmaps: np.ndarray,
    crops: Sequence[tuple[np.ndarray, np.ndarray]],
    center: np.ndarray,
    limbs: Mapping[tuple[int, int], float],
    settings: Mapping[str, Any],
) -> np.ndarray:
    """World poses (levels + 1, 17, 3) in mm after every level; where no pose is possible, the triangulated one."""
    parents = structures.tree(H36M17)
    kind, amount = settings.get("pair_rule", ("rel", 0.4))
    chosen = structures.Structures(
        bins=settings.get("first_nbins", 16),
        size=settings.get("grid_size", 2000.0),
        rule="relative" if kind == "rel" else "absolute",
        tolerance=amount,
        depth=settings.get("recur_depth", 10),
        recursion_bins=settings.get("recur_nbins", 2),
        recursion_tolerance=settings.get("tolerance", 150.0),
    )
    size = settings.get("image_size", 4 * heatmaps.shape[-1])
    to_units = np.diag([1 / size, 1 / size, 1.0])
    affine = np.stack([to_units @ np.vstack([crop_matrix(c, s, 0.0, (size, size)), [0, 0, 1]]) for c, s in crops])
    views = [_camera(camera).original_lens() for camera in cameras]
    maps = np.moveaxis(heatmaps, 1, -1)
    cells, value = gaussian.decode(jnp.asarray(maps))
    start = triangulation.triangulate(views, to_image(affine, np.asarray(cells) / maps.shape[1]), value).points
    found = structures.solve(
        chosen,
        parents,
        np.stack([view.to_vector() for view in views])[None],
        affine[None],
        maps[None],
        start[None],
        np.array([limbs.get((parent, joint), 0.0) for joint, parent in enumerate(parents)]),
        np.asarray(center)[None],
    )
    return np.broadcast_to(found.points, found.levels[:, 0].shape) if found.fell_back[0] else found.levels[:, 0]


def training_step(
    path: str | Path,
    config: Any,
    frames: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    steps: int,
    source: Sequence[str] = (),
    dtype: str = "float64",
) -> dict[str, Any]:
    """Losses of some steps of Adam, gradients of the first, weights and statistics after the first and the last.

    The loss and the rate are those of single-person-pose-estimation for a network with a sigmoid, else of the original
    multi-view code.
    """
    with jax.enable_x64(dtype == "float64"):
        kind = jnp.dtype(dtype)
        net = Net(zoo.create(config, dtype=kind))
        flat = port.from_torch(read_pth(Path(path)).arrays, config)
        for held in (net.params, net.stats):
            held.update({name: jnp.asarray(flat[name], kind) for name in held})
        clips = frames if frames.ndim == 5 else frames[:, None]
        views = clips.shape[:2]
        maps = np.moveaxis(np.asarray(targets), -3, -1)
        batch: Any = {
            "frames": jnp.asarray(config.pixels({"frames": clips}), kind),
            "target": jnp.asarray(maps.reshape(*views, *maps.shape[-3:]), kind),
            "weight": jnp.asarray(np.asarray(weights).reshape(*views, -1), kind),
        }
        if len(source):
            batch["together"] = jnp.asarray([name == "h36m" for name in source])
        scale, rate = (1 / maps.shape[-1], 1e-4) if config.sigmoid else (1.0, 1e-3)

        def losses(preds: Any, batch: Any) -> dict[str, jax.Array]:
            weight = jnp.ones_like(batch["weight"]) if config.sigmoid else batch["weight"]
            return {"maps": scale * squared_error(preds["maps"], batch["target"], weight).sum((0, 2, 3))}

        def total(params: Any) -> jax.Array:
            model: Any = net.merge(params, net.stats)
            return losses(model(batch), batch)["maps"].mean()

        gradient = jax.jit(jax.grad(total))(net.params)
        rule = optax.adam(rate)
        step = make_step(net, losses, rule)
        state = TrainState(net.params, net.stats, rule.init(net.params), jnp.int32(0))
        state, found, after = jax.tree.map(jnp.copy, state), [], []
        for _ in range(steps):
            state, metrics = step(state, {"one": batch})
            found.append(float(metrics["one/maps"]))
            after.append(_in_torch({**state.params, **state.stats}, config))
        result = {"losses": np.array(found), "grad": _in_torch(gradient, config)}
        return {**result, "after1": after[0], "afterN": after[-1]}


def _in_torch(arrays: Mapping[str, jax.Array], config: Any) -> dict[str, np.ndarray]:
    return port.to_torch({name: np.array(array) for name, array in arrays.items()}, config)
