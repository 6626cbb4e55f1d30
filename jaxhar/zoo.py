"""All networks by name, grouped in families. Add your own with `register`."""

import re
from collections.abc import Iterator
from dataclasses import replace

import jax.numpy as jnp
from flax import nnx

from jaxhar.core import skeleton
from jaxhar.core.family import Entry, Family
from jaxhar.core.network import NetworkConfig
from jaxhar.core.skeleton import Skeleton
from jaxhar.host.errors import Problem, Usage
from jaxhar.models.baseline import zoo as baseline
from jaxhar.models.mae import zoo as mae
from jaxhar.models.multiview import zoo as multiview
from jaxhar.models.people import zoo as people
from jaxhar.models.poseconv import zoo as poseconv
from jaxhar.models.reception import zoo as reception
from jaxhar.models.skeleton import zoo as skeleton_transformer
from jaxhar.models.spnet import zoo as spnet
from jaxhar.nn.cost import count
from jaxhar.nn.platform import planned

#: One line per family. `register` adds further ones.
FAMILIES: list[Family] = [
    reception.FAMILY,
    spnet.FAMILY,
    baseline.FAMILY,
    multiview.FAMILY,
    people.FAMILY,
    poseconv.FAMILY,
    poseconv.RGBPOSE,
    skeleton_transformer.FAMILY,
    mae.FAMILY,
    mae.IMAGES,
    mae.CLASSIFIERS,
    mae.IMAGE_CLASSIFIERS,
]


def register(family: Family) -> None:
    """Adds a family of networks, which can then be used in every function and command.

    A family of the same name and settings class replaces the earlier one, e.g. if a module is imported twice.

    Raises:
      Usage: its name, its settings class or the name of one of its networks is used by another family.
    """
    others = [f for f in FAMILIES if f.name != family.name]
    if any(f.name == family.name and f.config.__qualname__ != family.config.__qualname__ for f in FAMILIES):
        raise Usage(f"there is a family named {family.name!r} already: give yours another name")
    if any(f.config is family.config for f in others):
        raise Usage(f"the settings {family.config.__name__} belong to another family than {family.name!r} already")
    taken = [name for name in family.entries if any(name in f.entries for f in others)]
    if taken:
        raise Usage(f"there is a network named {taken[0]!r} already: give yours in {family.name!r} another name")
    FAMILIES[:] = [*others, family]


def families() -> tuple[str, ...]:
    """Names of the families."""
    return tuple(family.name for family in FAMILIES)


def family(config: NetworkConfig) -> Family:
    """The family that settings belong to, by their type.

    Raises:
      Problem: they belong to no family; the message says how to add one.
    """
    found = next((f for f in FAMILIES if f.config is type(config)), None)
    if found is None:
        raise Problem(
            f"{type(config).__module__}.{type(config).__qualname__} are not the settings of a network that is known "
            f"here: there are the families {', '.join(families())}. Add yours with jaxhar.zoo.register, in a module "
            "that you name with --import MODULE"
        )
    return found


def family_named(name: str) -> Family | None:
    """A family by its name; None if there is none."""
    return next((f for f in FAMILIES if f.name == name), None)


def _entries() -> Iterator[tuple[str, Family, Entry]]:
    return ((name, family, entry) for family in FAMILIES for name, entry in family.entries.items())


def names() -> tuple[str, ...]:
    """Names of the networks."""
    return tuple(name for name, *_ in _entries())


def entry(name: str) -> Entry:
    """The zoo entry of a network; Usage, with a list of names, if there is none."""
    found = next((entry for entry_name, _, entry in _entries() if entry_name == name), None)
    if found is None:
        raise Usage(f"no network is named {name!r}; there are: {', '.join(names())}")
    return found


def config(name: str) -> NetworkConfig:
    """Settings of a network; change them with `dataclasses.replace`."""
    return entry(name).config


def tiny(name: str) -> NetworkConfig:
    """Settings of a small version of a network for tests."""
    full = config(name)
    return replace(full, **family(full).tiny)  # type: ignore[type-var]


def labels(entry: Entry, config: NetworkConfig) -> tuple[Skeleton | None, tuple]:
    """Joints and action names for settings derived from an entry; generic names where the counts differ.

    For another number of joints, a layout of the family is used if there is one. With several label sets, the
    result has a tuple of names for each.
    """
    joints, layouts = entry.skeleton, family(config).skeletons
    if config.pose_shape is not None and (joints is None or len(joints) != config.pose_shape[0]):
        joints = skeleton.of_size(config.pose_shape[0], layouts)
    sets = tuple(
        entry.actions if count == len(entry.actions) else tuple(f"class {i}" for i in range(count))
        for count in config.classes
    )
    return joints, sets[0] if len(sets) == 1 else sets


def trunk_frozen(config: NetworkConfig) -> tuple[tuple[str, float], ...]:
    """An `Optimizer.table` that freezes the weights and running statistics of a network's trunk.

    In deephar's networks the trunk is the pose network, including the separate heat maps for action blocks.

    Raises:
      Problem: networks of this family have no trunk.
    """
    trunk = family(config).trunk
    if not trunk:
        raise Problem(f"networks of the family {family(config).name} have no trunk of their own that could be frozen")
    return ((rf"{re.escape(trunk)}\..*", 0.0), (".*", 1.0))


def create(config: NetworkConfig, *, rngs: nnx.Rngs | None = None, dtype=jnp.float32) -> nnx.Module:
    """A network with random weights, in training mode.

    Args:
      config: settings of the network.
      rngs: random seeds of the weights; seed 0 by default.
      dtype: type of the arithmetic; weights, statistics, soft-argmax and logits are always float32.

    Raises:
      Problem: the settings belong to no family.
    """
    return family(config).build(config, dtype=dtype, rngs=rngs or nnx.Rngs(0))


def multiply_adds(config: NetworkConfig) -> int:
    """Number of multiply-adds of a network for one image, or for one clip of the default length."""
    model = nnx.eval_shape(lambda: create(config))
    model.eval()
    graphdef, state = nnx.split(model)
    batch = config.inputs(1)
    with planned():  # the same on every platform
        return count(lambda state, batch: nnx.merge(graphdef, state)(batch), state, batch)
