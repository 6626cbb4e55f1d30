"""Video networks: names for checks of exactness; see the project's own modules for the work."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx

import torch_ref
from jaxhar import inference, port, zoo
from jaxhar.core import masks
from jaxhar.core import mix as mixing
from jaxhar.core.pixels import Pixels
from jaxhar.data import clips as clip_rules
from jaxhar.data import cover
from jaxhar.data import rand_augment as augmentations
from jaxhar.evaluation import class_metrics
from jaxhar.models.mae.network import Head
from jaxhar.training.layers import layer_decay as layer_table
from jaxhar.training.layers import weight_decay
from jaxhar.training.losses import action
from jaxhar.training.losses.multitask import Multitask
from jaxhar.training.losses.reconstruction import Reconstruction
from jaxhar.training.optim import Optimizer, lars
from jaxhar.training.step import TrainState, make_step
from jaxhar.weights.net import Net
from jaxhar.weights.state_dict import read_pth
from jaxhar.weights.torch import torch_names

#: Network -> the names in the file that it was read from.
_NAMES: WeakKeyDictionary[Any, tuple[str, ...]] = WeakKeyDictionary()


def config(name: str) -> Any:
    """The settings of a network, as the golden cases were made: without dropout."""
    found: Any = zoo.config(name)
    if name.endswith("-k400"):
        return dataclasses.replace(found, dropout=0.0, path_dropout=0.0, drop_first=True)
    return dataclasses.replace(found, pixels=Pixels.KINETICS)


def load_torch(path: str | Path, config: Any) -> nnx.Module:
    """A network from an original's file; strict."""
    arrays = read_pth(Path(path)).arrays
    model = port.from_flat(port.from_torch(arrays, config), config)
    _NAMES[model] = tuple(arrays)
    return model


def _changed(model: Any, **settings: Any) -> Any:
    config = dataclasses.replace(model.config, **settings)
    return model if config == model.config else port.from_flat(port.to_flat(model), config)


def _in_torch(arrays: Mapping[str, Any], model: Any) -> dict[str, np.ndarray]:
    flat = {name: np.asarray(array) for name, array in arrays.items()}
    return port.to_torch(flat, model.config, _NAMES.get(model, ()))


@inference.jit
def _reconstructed(structure: inference.Structure, state: nnx.State, batch: Any) -> tuple[Any, ...]:
    model = structure.merge(state)
    preds = model(batch)
    loss = Reconstruction(model.config.patching)(preds, batch)["reconstruction"].mean()
    return loss, preds["patches"][-1], preds["removed"][-1], model.encode(batch, model.order(batch))


def reconstruct(model: Any, frames: np.ndarray, noise: np.ndarray, mask_ratio: float) -> dict[str, Any]:
    """Loss, prediction, mask and latent of clips."""
    parts = inference.prepare(_changed(model, mask_ratio=mask_ratio))
    loss, patches, removed, latent = _reconstructed(*parts, {"frames": frames, "noise": noise})
    found = {"prediction": patches, "mask": removed, "latent": latent[:, int(model.config.cls_token) :]}
    return {"loss": float(loss), **{key: np.asarray(value) for key, value in found.items()}}


def gradients(model: Any, frames: np.ndarray, noise: np.ndarray, mask_ratio: float) -> dict[str, np.ndarray]:
    """The gradient of every trained tensor by its name in the original's file."""
    net = Net(_changed(model, mask_ratio=mask_ratio))
    batch: Any = {"frames": frames, "noise": noise}
    losses = Reconstruction(model.config.patching)

    def total(params: Any) -> jax.Array:
        network: Any = net.merge(params, net.stats)
        return losses(network(batch), batch)["reconstruction"].mean()

    return _in_torch(jax.jit(jax.grad(total))(net.params), model)


def _schedule(settings: Mapping[str, Any]) -> Callable[..., optax.Schedule]:
    """The rate at every step, counted from the first epoch of the settings."""
    part = settings["epoch_per_step"]

    def schedule(value: float) -> optax.Schedule:
        return lambda count: _rate(value, settings)(settings["epoch0"] + count * part)

    return schedule


def _rate(lr: float, settings: Mapping[str, Any]) -> optax.Schedule:
    warmup, epochs = settings["warmup_epochs"], settings["epochs"]
    return optax.warmup_cosine_decay_schedule(0.0, lr, warmup, epochs, settings["min_lr"])


def _steps(model: Any, losses: Any, batches: list[Any], settings: Mapping[str, Any], finetune: bool) -> dict[str, Any]:
    """Steps of AdamW."""
    net = Net(model)
    decay = settings.get("layer_decay")
    optimizer = Optimizer(
        optax.scale_by_adam,
        options=dict(zip(("b1", "b2"), settings["betas"], strict=True)),
        learning_rate=settings["lr"],
        schedule=_schedule(settings),
        clip_norm=settings.get("clip_grad"),
        table=layer_table(model.config.depth, decay) if decay else ((".*", 1.0),),
        decay=weight_decay(settings["weight_decay"], tokens=not finetune),
    )
    rule = optimizer.build(net.params, len(batches))
    step = make_step(net, losses, rule)
    state = jax.tree.map(jnp.copy, TrainState(net.params, net.stats, rule.init(net.params), jnp.int32(0)))
    found = []
    for batch in batches:
        state, metrics = step(state, {"one": batch})
        found.append((float(metrics["loss"]), float(metrics["gradient_norm"])))
    rates = [float(optimizer.rate(len(batches))(number)) for number in range(len(batches))]
    weights = {name: state.params.get(name, state.stats.get(name)) for name in port.shapes(model.config)}
    loss, norm = np.array(found).T
    return {"loss": loss, "grad_norm": norm, "lr": np.array(rates), "params": _in_torch(weights, model)}


def pretrain_steps(
    model: Any, frames: np.ndarray, noises: np.ndarray, mask_ratio: float, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Steps of pretraining on the same clips with other masks."""
    network = _changed(model, mask_ratio=mask_ratio)
    _NAMES[network] = _NAMES.get(model, ())
    network.train()
    batches = [{"frames": frames, "noise": noise} for noise in noises]
    return _steps(network, Reconstruction(network.config.patching), batches, settings, finetune=False)


def finetune_steps(
    model: Any,
    frames: np.ndarray,
    targets: np.ndarray,
    steps: int,
    settings: Mapping[str, Any],
    map: np.ndarray | None = None,
) -> dict[str, Any]:
    """Steps of fine-tuning on the same clips."""
    batch = {"frames": frames, "action": np.asarray(targets, np.float32)}
    batch |= {} if map is None else {"cover": map}
    network = model if map is None else _changed(model, pool="covered")
    network.train()
    found = _steps(network, Multitask(), [batch] * steps, settings, finetune=True)
    network.eval()
    return found


def infer(model: Any, frames: np.ndarray) -> dict[str, Any]:
    """Probabilities of the classes."""
    return inference.infer(model, frames)


def infer_masked(model: Any, frames: np.ndarray, map: np.ndarray) -> dict[str, Any]:
    """The same, pooled over the covered patches."""
    return inference.infer(_changed(model, pool="covered"), {"frames": frames, "cover": map})


# ---------------------------------------------------------------------------------------------------------------------
# The twin.


def twin_load_torch(path: str | Path, config: Any) -> torch.nn.Module:
    """The PyTorch twin with the weights of an original's file."""
    arrays = read_pth(Path(path)).arrays
    net = _twin(config, port.to_torch(port.from_torch(arrays, config), config))
    _NAMES[net] = tuple(arrays)
    return net


def _twin(config: Any, state: Mapping[str, np.ndarray]) -> torch.nn.Module:
    name = next(name for name in zoo.names() if type(zoo.config(name)) is type(config))
    net = torch_ref.create(name, **dataclasses.asdict(config)).eval()
    net.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in state.items()})
    return net


def _twin_changed(net: Any, **settings: Any) -> Any:
    config = dataclasses.replace(net.config, **settings)
    if config == net.config:
        return net
    other = torch_ref.create(_twin_name(config), **dataclasses.asdict(config)).eval()
    other.load_state_dict(net.state_dict())
    return other


def _twin_name(config: Any) -> str:
    return next(name for name in zoo.names() if type(zoo.config(name)).__name__ == type(config).__name__)


def _tensors(net: Any, frames: np.ndarray, **others: np.ndarray) -> dict[str, torch.Tensor]:
    tensors = {key: torch.from_numpy(np.asarray(value)) for key, value in others.items()}
    return {"frames": torch_ref._as_tensor(frames, net.pixels), **tensors}


def twin_reconstruct(net: Any, frames: np.ndarray, noise: np.ndarray, mask_ratio: float) -> dict[str, Any]:
    """As `reconstruct`."""
    net = _twin_changed(net, mask_ratio=mask_ratio)
    tensors = _tensors(net, frames, noise=noise)
    with torch.no_grad():
        preds = net(**tensors)
        shuffled, kept = net.order(tensors["frames"], tensors["noise"], None)
        latent = net.latent(tensors["frames"], shuffled, kept)[:, int(net.config.cls_token) :]
        loss = float(net.loss(preds, tensors["frames"]))
    found = {"prediction": preds["patches"][-1], "mask": preds["removed"][-1], "latent": latent}
    return {"loss": loss, **{key: value.numpy() for key, value in found.items()}}


def twin_gradients(net: Any, frames: np.ndarray, noise: np.ndarray, mask_ratio: float) -> dict[str, np.ndarray]:
    """As `gradients`."""
    changed = _twin_changed(net, mask_ratio=mask_ratio)
    changed.zero_grad()
    tensors = _tensors(changed, frames, noise=noise)
    changed.loss(changed(**tensors), tensors["frames"]).backward()
    found = {key: p.grad.numpy() for key, p in changed.named_parameters() if p.grad is not None}
    fixed = {key: np.zeros(p.shape, np.float32) for key, p in changed.named_parameters() if p.grad is None}
    settings = config(_twin_name(net.config))
    settings = dataclasses.replace(settings, **dataclasses.asdict(net.config))
    named = port.to_torch(port.from_torch(found | fixed, settings), settings, _NAMES.get(net, ()))
    return {key: array for key, array in named.items() if key not in fixed}


def twin_infer(net: Any, frames: np.ndarray) -> dict[str, Any]:
    """As `infer`."""
    return torch_ref.infer(net, frames)


def twin_infer_masked(net: Any, frames: np.ndarray, map: np.ndarray) -> dict[str, Any]:
    """As `infer_masked`."""
    return torch_ref.infer(_twin_changed(net, pool="covered"), {"frames": frames, "cover": map})


# ---------------------------------------------------------------------------------------------------------------------
# Functions.


def directed_mask(
    noise: np.ndarray, coverage: np.ndarray, temperature: float, mask_ratio: float, version: str, flip: bool = False
) -> np.ndarray:
    """(B, N), 1 for removed."""
    preference = masks.preference(temperature, version == "v1")
    keys = masks.directed_keys(jnp.asarray(noise), jnp.asarray(coverage), preference, flip=flip)
    return np.asarray(masks.order(keys, masks.count(noise.shape[1], mask_ratio)).removed)


def coverage(map: np.ndarray, t_patch: int, patch: int) -> np.ndarray:
    """(B, T', S)."""
    return np.asarray(masks.coverage(jnp.asarray(map), t_patch, patch))


def _paths(names: Iterable[str]) -> dict[str, str]:
    """Names in an original's file -> dotted paths."""
    names = list(names)
    depth, decoder_depth = (
        len({name.split(".")[1] for name in names if name.startswith(f"{prefix}blocks.")})
        for prefix in ("", "decoder_")
    )
    fields: dict[str, Any] = {"depth": depth, "qkv_bias": any(name.endswith(("qkv.bias", "q.bias")) for name in names)}
    fields |= {"cls_token": "cls_token" in names}
    image = "blocks.0.attn.qkv.weight" in names
    if not image:
        fields["positions"] = "separate" if "pos_embed_spatial" in names else "joint"
    if decoder_depth:
        fields["decoder_depth"] = decoder_depth
    name = ("mae-vit-b" if image else "mae-st-vit-b") if decoder_depth else "mae-st-vit-b-k400"
    settings = dataclasses.replace(config(name), **fields)
    paths = {name: path for path, parts in torch_names(settings, names).items() for name in parts}
    return {name: paths[name] for name in names}


def layer_decay(names: Iterable[str], depth: int, decay: float) -> dict[str, float]:
    """Multiplier of the learning rate of every tensor."""
    paths = _paths(names)
    scales = Optimizer(table=layer_table(depth, decay)).multipliers(paths.values())
    return {name: scales[path] for name, path in paths.items()}


def no_decay(shapes: Mapping[str, Any], finetune: bool, norms: bool = False) -> set[str]:
    """The tensors without weight decay."""
    paths = _paths(shapes)
    decays = Optimizer(decay=weight_decay(1.0, not finetune, norms)).decays(paths.values())
    return {name for name, path in paths.items() if decays[path] == 0}


def warmup_cosine(epoch: float, lr: float, min_lr: float, warmup_epochs: float, epochs: float) -> float:
    """The learning rate."""
    return float(_rate(lr, {"warmup_epochs": warmup_epochs, "epochs": epochs, "min_lr": min_lr})(epoch))


def cosine_between(epoch: float, start: float, end: float, epochs: float) -> float:
    """Mask ratio or temperature."""
    return float(masks.cosine_between(epoch, start, end, epochs))


def clip_frames(
    video: int,
    fps: float,
    rate: float,
    frames: int,
    u: float | None = None,
    clip: int = 0,
    clips: int = 1,
    rounded: bool = False,
) -> np.ndarray:
    """Frame numbers of a clip."""
    length = clip_rules.span(frames, rate, fps)
    start = (
        clip_rules.fixed_start(video, length, clip, clips, rounded)
        if u is None
        else clip_rules.random_start(video, length, u, rounded)
    )
    return clip_rules.frames_of(video, start, length, frames)


def test_crop(height: int, width: int, size: int, which: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size after scaling, and (top, left)."""
    resized = clip_rules.short_side(height, width, size)
    return resized, clip_rules.place(*resized, size, which)


test_crop.__test__ = False  # type: ignore[attr-defined]


def raster(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) 0 or 1."""
    return cover.raster(boxes, size, wrap=True)


def mix(x: np.ndarray, lam: float, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Mixup, or CutMix of a box."""
    clips = jnp.asarray(x)
    return np.asarray(mixing.mixup(clips, lam) if box is None else mixing.cutmix(clips, mixing.Box(*box)))


def mixed_targets(labels: np.ndarray, classes: int, lam: float, smoothing: float) -> np.ndarray:
    """(B, classes)."""
    return np.asarray(mixing.mixed_targets(jnp.asarray(labels), classes, lam, smoothing))


def soft_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """The mean."""
    return float(action.action(jnp.asarray(logits), jnp.asarray(targets)).mean())


def multi_view(probabilities: np.ndarray, items: np.ndarray, views: int, videos: int) -> np.ndarray:
    """Sums (videos, classes)."""
    return class_metrics.sums(probabilities, items, views, videos)


def rand_augment(image: np.ndarray, name: str, argument: Any = None) -> np.ndarray:
    """One operation on a picture; the argument alone, in a list, or none."""
    return augmentations.apply(image, name, [] if argument is None else np.atleast_1d(argument).tolist())


class _Probe(nnx.Module):
    """A head on given features."""

    def __init__(self, width: int, classes: int, norm: bool):
        self.head = Head(width, classes, 0.0, norm, rngs=nnx.Rngs(0))

    def __call__(self, batch: Any) -> Any:
        return {"action": self.head(batch["features"])[None]}


def _probe_steps(
    features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray, optimizer: Optimizer, norm: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The arrays of a probe after steps, and the losses and gradient norms."""
    net = Net(_Probe(features.shape[-1], len(bias), norm))
    net.load({**net.params, **net.stats, "head.linear.kernel": weight.T, "head.linear.bias": bias}, "the probe")  # type: ignore[dict-item]
    rule = optimizer.build(net.params, len(features))
    step = make_step(net, Multitask(), rule)
    state = jax.tree.map(jnp.copy, TrainState(net.params, net.stats, rule.init(net.params), jnp.int32(0)))
    found = []
    for x, y in zip(features, labels, strict=True):
        state, metrics = step(state, {"one": {"features": x, "action": y}})  # type: ignore[typeddict-item]
        found.append((float(metrics["loss"]), float(metrics["gradient_norm"])))
    return {name: np.asarray(array) for name, array in (state.params | state.stats).items() if array.ndim}, np.array(
        found
    )


def lars_probe(
    features: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    lr: float,
    momentum: float,
    trust: float,
    weight_decay: float,
) -> tuple[np.ndarray, ...]:
    """Weight, bias, running mean and variance after steps of LARS."""
    options = {"momentum": momentum, "trust_coefficient": trust, "weight_decay": weight_decay}
    optimizer = Optimizer(lars, options=options, learning_rate=lr)
    after, _ = _probe_steps(features, np.asarray(labels, np.int32), weight, bias, optimizer, norm=True)
    names = ("head.linear.bias", "head.norm.mean", "head.norm.var")
    return after["head.linear.kernel"].T, *(after[name] for name in names)
