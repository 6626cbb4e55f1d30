"""Action heads trained on features of a frozen trunk."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from tqdm import tqdm

from jaxhar import zoo
from jaxhar.core.batch import Batch
from jaxhar.finetune.features import Layout, Seen
from jaxhar.host.errors import Problem
from jaxhar.training.step import TrainState, make_step
from jaxhar.weights.net import Net

Array = jax.Array


class Heads(nnx.Module):
    """The action heads of a network, called with packed (B, T, J, C) in place of frames.

    Attributes:
      net: the network without its pose part.
    """

    def __init__(self, config: Any, layout: Layout, *, rngs: nnx.Rngs):
        net: Any = zoo.create(config, rngs=rngs)
        del net.pose
        self.net = net
        self.layout = layout

    def __call__(self, batch: Batch) -> dict[str, Array]:
        """Logits (K', B, A) under "action"."""
        return {"action": self.net.action_forward(self.layout.unpack(batch["frames"]))}


class Teacher:
    """Trains heads on what the trunk saw; compiled once for all folds, each of which begins with the same weights.

    Running averages move by a tenth a step: a run of a few hundred steps has no time for Keras' hundredth.
    """

    def __init__(
        self,
        config: Any,
        start: Mapping[str, np.ndarray],
        layout: Layout,
        losses: Any,
        optimizer: Any,
        steps: int,
        seed: int,
    ):
        heads = Heads(config, layout, rngs=nnx.Rngs(seed))
        self.net = Net(nnx.with_attributes(heads, only=nnx.BatchNorm, raise_if_not_found=False, momentum=0.9))
        self.net.load({f"net.{n}": a for n, a in start.items() if not n.startswith("pose.")}, "the start")
        self.steps, self.seed = steps, seed
        heads_alone = dataclasses.replace(optimizer, table=((".*", 1.0),))
        self.optimizer: optax.GradientTransformation = heads_alone.build(self.net.params, steps)
        self._step = make_step(self.net, losses, self.optimizer)

    def learn(self, seen: Seen, numbers: Sequence[int], batch: int, title: str, progress: bool = True) -> Any:
        """Heads in evaluation mode, trained on these sequences. Problem if the loss is not finite."""
        params, stats = self.net.params, self.net.stats
        state = TrainState(params, stats, self.optimizer.init(params), jnp.int32(0))
        state = jax.tree.map(jnp.copy, state)  # the step gives its buffers up
        rng = np.random.default_rng(self.seed)
        bar = tqdm(range(self.steps), desc=title, unit="step", disable=not progress)
        for n in bar:
            state, metrics = self._step(state, {"clips": seen.draw(numbers, batch, rng)})
            if n % 20 == 0 or n == self.steps - 1:
                loss = float(metrics["loss"])
                if not np.isfinite(loss):
                    raise Problem(f"the loss became {loss} by step {n + 1} of {title}; lower the learning rate")
                bar.set_postfix({"loss": f"{loss:.3f}"}, refresh=False)
        heads = self.net.merge(state.params, state.stats)
        heads.eval()
        return heads

    @staticmethod
    def weights(heads: Any) -> dict[str, np.ndarray]:
        """The leaves of heads by the names that they have in the whole network."""
        net = Net(heads)
        return {name.removeprefix("net."): np.asarray(array) for name, array in (net.params | net.stats).items()}
