"""Trains networks on batches in memory: action heads without their pose network, on its stored features."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tqdm import tqdm

from jaxhar import zoo
from jaxhar.core.batch import Batch, Preds
from jaxhar.core.network import NetworkConfig
from jaxhar.finetune.features import Features, Layout, trunk_name
from jaxhar.host.errors import Problem
from jaxhar.training.optim import Optimizer
from jaxhar.training.step import Losses, TrainState, make_step
from jaxhar.weights.net import Net


@dataclasses.dataclass(frozen=True)
class HeadsConfig:
    """The config of `Heads`; see `jaxhar.core.network.NetworkConfig`.

    Attributes:
      classes: number of classes of every set of action labels.
    """

    classes: tuple[int, ...]

    reads: ClassVar[tuple[str, ...]] = ("features",)
    predicts: ClassVar[tuple[str, ...]] = ("action",)
    pixels: ClassVar[None] = None
    frames_apart: ClassVar[bool] = False
    pose_shape: ClassVar[None] = None


class Heads(nnx.Module):
    """The action heads of a network, called with a batch of packed features (B, T, J, C).

    Attributes:
      net: the network without its trunk.
    """

    def __init__(self, config: NetworkConfig, layout: Layout, *, rngs: nnx.Rngs):
        net: Any = zoo.create(config, rngs=rngs)
        delattr(net, trunk_name(config))
        self.net = net
        self.config = HeadsConfig(config.classes)
        self.layout = layout

    def __call__(self, batch: Batch) -> Preds:
        """Logits (K', B, A) under "action"."""
        return {"action": self.net.action_forward(self.layout.unpack(batch["features"]))}


class Trainer:
    """Trains a network on batches that a function draws. It is compiled once for all folds; each starts anew."""

    def __init__(self, model: nnx.Module, losses: Losses, optimizer: Optimizer, steps: int, seed: int):
        self.net = Net(model)
        self.steps, self.seed = steps, seed
        self.optimizer: optax.GradientTransformation = optimizer.build(self.net.params, steps)
        self._step = make_step(self.net, losses, self.optimizer)

    def run(self, draw: Callable[[np.random.Generator], Batch], title: str, progress: bool = True) -> nnx.Module:
        """The trained network in evaluation mode. Problem if the loss is not finite."""
        params, stats = self.net.params, self.net.stats
        state = TrainState(params, stats, self.optimizer.init(params), jnp.int32(0))
        state = jax.tree.map(jnp.copy, state)  # a step reuses the memory of its old state
        rng = np.random.default_rng(self.seed)
        bar = tqdm(range(self.steps), desc=title, unit="step", disable=not progress)
        for n in bar:
            state, metrics = self._step(state, {"clips": draw(rng)})
            if n % 20 == 0 or n == self.steps - 1:
                loss = float(metrics["loss"])
                if not np.isfinite(loss):
                    raise Problem(f"the loss became {loss} by step {n + 1} of {title}; lower the learning rate")
                bar.set_postfix({"loss": f"{loss:.3f}"}, refresh=False)
        model = self.net.merge(state.params, state.stats)
        model.eval()
        return model


class HeadTrainer(Trainer):
    """Trains heads on features, from the weights `start`.

    Batch norms have momentum 0.9 instead of Keras' 0.99, because a run has only a few hundred steps.
    """

    def __init__(
        self,
        config: NetworkConfig,
        start: Mapping[str, np.ndarray],
        layout: Layout,
        losses: Losses,
        optimizer: Optimizer,
        steps: int,
        seed: int,
    ):
        heads = Heads(config, layout, rngs=nnx.Rngs(seed))
        heads = nnx.with_attributes(heads, only=nnx.BatchNorm, raise_if_not_found=False, momentum=0.9)
        super().__init__(heads, losses, dataclasses.replace(optimizer, table=((".*", 1.0),)), steps, seed)
        trunk = f"{trunk_name(config)}."
        self.net.load({f"net.{n}": a for n, a in start.items() if not n.startswith(trunk)}, "the start")

    def train(
        self, features: Features, numbers: Sequence[int], batch: int, title: str, progress: bool = True
    ) -> nnx.Module:
        """Train heads on these sequences and return them in evaluation mode. Problem if the loss is not finite."""
        return self.run(partial(features.draw, numbers, batch), title, progress)

    @staticmethod
    def weights(heads: nnx.Module) -> dict[str, np.ndarray]:
        """The arrays of heads, by the names that they have in the full network."""
        net = Net(heads)
        return {name.removeprefix("net."): np.asarray(array) for name, array in (net.params | net.stats).items()}
