"""Declaration of a network family: settings, published networks, and weight names in Keras and PyTorch files."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from flax import nnx

from jaxhar.core.network import NetworkConfig
from jaxhar.core.skeleton import Skeleton

#: layer -> weight -> array
Group = dict[str, dict[str, np.ndarray]]


#: Keras layer type -> its layers in the order of their numbers: a module (dotted path) each, or constant weights.
Kinds = dict[str, list[str | dict[str, np.ndarray]]]


class Kind(StrEnum):
    """Type of a weight, which decides the order of its axes here and in PyTorch; any number of spatial axes.

    Keras orders the axes as we do.
    """

    #: (..., in, out) here, (out, in, ...) in PyTorch.
    CONV = "conv"
    #: (..., channels, multiplier) here, (channels * multiplier, 1, ...) in PyTorch.
    DEPTHWISE = "depthwise"
    #: (..., out, in) here, (in, out, ...) in PyTorch.
    DECONV = "deconv"
    #: (in, out) here, (out, in) in PyTorch.
    LINEAR = "linear"
    #: Kernel (in, 3, heads, width) here, (3 * heads * width, in) in PyTorch; bias (3, heads, width), flat there.
    QKV = "qkv"
    #: (rows, width) in both: position embeddings, class tokens.
    EMBEDDING = "embedding"
    #: The same axes in both: biases, scales and running statistics.
    NORM = "norm"


@dataclass(frozen=True)
class Packing:
    """How a PyTorch weight holds an array of ours beside values that the settings give.

    Attributes:
      pack: our array, its axes in PyTorch's order -> the PyTorch weight.
      unpack: the inverse; None if the given values in the weight are not those of the settings.
    """

    pack: Callable[[np.ndarray], np.ndarray]
    unpack: Callable[[np.ndarray], np.ndarray | None]


@dataclass(frozen=True)
class Rule:
    """Maps dotted paths of weights to their names in a PyTorch state dict.

    Attributes:
      pattern: regular expression that must match the full dotted path.
      name: the PyTorch name: a template such as r"\\1.weight", or a function of the match. Several templates for a
        weight that lies there in equal parts, along the first axis, e.g. of queries, keys and values.
      kind: order of the axes.
      packing: what else is in the PyTorch weight; None for nothing.
    """

    pattern: str
    name: str | tuple[str, ...] | Callable[[re.Match[str]], str]
    kind: Kind
    packing: Packing | None = None


#: For a PyTorch network with the same module names as ours. Linear layers count as convolutions without spatial axes.
LAYERS: tuple[Rule, ...] = (
    Rule(r"(|.*\.)depthwise\.kernel", r"\1depthwise.weight", Kind.DEPTHWISE),
    Rule(r"(|.*\.)kernel", r"\1weight", Kind.CONV),
    Rule(r"(|.*\.)embedding", r"\1weight", Kind.EMBEDDING),
    Rule(r"(|.*\.)scale", r"\1weight", Kind.NORM),
    Rule(r"(|.*\.)bias", r"\1bias", Kind.NORM),
    Rule(r"(|.*\.)mean", r"\1running_mean", Kind.NORM),
    Rule(r"(|.*\.)var", r"\1running_var", Kind.NORM),
)


@dataclass(frozen=True)
class Transfer:
    """How to initialise a network from the weights of a similar one.

    Patterns are regular expressions that must match the full dotted path. Every weight must be used and every one of
    the network filled, except for those listed here.

    Attributes:
      renames: (pattern of a path in the file, template of the path in the network); the first rename that gives an
        existing path applies. A weight whose path exists in the network unchanged is not renamed.
      fresh: weights of the network that keep their initial values if the file has none or one of another shape.
      unused: weights of the file that may remain unused.
    """

    renames: tuple[tuple[str, str], ...] = ()
    fresh: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class KerasLayout:
    """Layout of a family's Keras 2 weight files; each function may raise ValueError.

    Attributes:
      layout: config -> the groups of the file in order, with the module (dotted path) of each layer.
      sequence: config -> modules in the order of Keras' layers inside nested models.
      renumber: groups of a file -> the same with layer numbers that start from the beginning.
      infer: groups of a file -> the settings it was written with; None if they cannot be inferred.
      told: (groups of a file, config) -> the settings by name that the constants in the file tell, as text.
    """

    layout: Callable[..., dict[str, Kinds]]
    sequence: Callable[..., Sequence[str]] = lambda config: ()
    renumber: Callable[[dict[str, Group]], dict[str, Group]] = lambda groups: groups
    infer: Callable[[dict[str, Group]], NetworkConfig] | None = None
    told: Callable[..., Mapping[str, str]] = lambda groups, config: {}


@dataclass(frozen=True)
class Entry:
    """A named network of a family.

    Attributes:
      config: its settings.
      skeleton: its joints; None for a network without any.
      actions: names of its action classes; () for a network that recognises none.
      published: the published result, with its protocol; "" if there is none.
      release: URL of the published weight file; "" if there is none.
      md5: checksum of that file; "" if unknown.
      licence: under which terms that file was published; "" if unknown.
      size: its weights, running statistics included, and its multiply-adds for one image or clip, as tables show them;
        None: they are counted whenever they are shown, which takes seconds.
      accept: whether the licence must be accepted before the file is fetched.
      variants: further published files of a network of these settings, each a word for it and its URL.
    """

    config: NetworkConfig
    skeleton: Skeleton | None = None
    actions: tuple[str, ...] = ()
    published: str = ""
    release: str = ""
    md5: str = ""
    licence: str = ""
    size: tuple[int, int] | None = None
    accept: bool = False
    variants: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Family:
    """A network family: how to build its networks, their names, and their weight names in other formats.

    Attributes:
      name: the name stored in weight files.
      config: class of its settings, a frozen dataclass that implements `NetworkConfig`.
      build: (config, *, dtype, rngs) -> a network in training mode, with `.config`.
      entries: name -> network; names are unique over all families.
      tiny: settings that make any of its networks small enough for tests.
      table: config -> names and kinds of the weights in PyTorch state dicts; the first matching rule applies.
      dialects: config -> further tables, of other programs' files that can be read.
      ignored: regular expressions for entries of PyTorch state dicts to ignore.
      keras: the layout of its Keras files; None if there are none.
      trunk: dotted path of the part that processes the frames and can be frozen; "" if there is none.
      whole_trunk: whether a file that has some weights of the trunk must have all of them, and no more stages.
      transfer: how to initialise a network from one with other heads.
      skeletons: joint layouts of its networks, one for each number of joints.
      resized: (flat weights, their config, another config) -> the weights with positions for that config's sizes; None
        for networks without learned positions.
      untold: config -> by name the settings that no weight tells, each with a sentence on the choice.
      positions: regular expressions for the learned positions of the trunk, which belong to one size of clips.
    """

    name: str
    config: type
    build: Callable[..., nnx.Module]
    entries: Mapping[str, Entry] = field(default_factory=dict)
    tiny: Mapping[str, object] = field(default_factory=dict)
    table: Callable[..., tuple[Rule, ...]] = lambda config: LAYERS
    dialects: Callable[..., Sequence[tuple[Rule, ...]]] = lambda config: ()
    ignored: tuple[str, ...] = (r".*\.num_batches_tracked",)
    keras: KerasLayout | None = None
    trunk: str = ""
    whole_trunk: bool = False
    transfer: Transfer = Transfer()
    skeletons: tuple[Skeleton, ...] = ()
    resized: Callable[..., dict[str, np.ndarray]] | None = None
    untold: Callable[..., Mapping[str, str]] = lambda config: {}
    positions: tuple[str, ...] = ()
