"""What a family of networks declares: its settings, its published networks, and the names of its weights elsewhere."""

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


#: What the layers of one kind are, in the order of their numbers: modules by dotted path, or weights known beforehand.
Kinds = dict[str, list[str | dict[str, np.ndarray]]]


class Kind(StrEnum):
    """What a weight is, which decides how its axes are arranged here and in PyTorch; for any number of space axes.

    Keras stores all of them as they are here.
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
    #: (rows, width) in both: tables of positions, class tokens.
    EMBEDDING = "embedding"
    #: As it is in both: biases, scales and running statistics.
    NORM = "norm"


@dataclass(frozen=True)
class Rule:
    """The name and kind of weights in a PyTorch state dict.

    Attributes:
      pattern: regular expression for the whole dotted path of a weight here.
      name: its name there: a template such as r"\\1.weight", or a function of the match.
      kind: how its axes are arranged.
    """

    pattern: str
    name: str | Callable[[re.Match[str]], str]
    kind: Kind


#: Our layers and PyTorch's, module by module under the same names. Linear layers are convolutions without space axes.
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
    """How the weights of one network start another one that is not quite the same.

    Patterns are regular expressions for whole dotted paths. Every weight must find its place, except for those named.

    Attributes:
      renames: (pattern of a weight in the file, template of its path here); the first whose path is one of the network
        counts. A weight whose own path is one of the network keeps it.
      fresh: weights of the network that may stay at their initial values, where the file has none or of another shape.
      unused: weights of the file that may be left over.
    """

    renames: tuple[tuple[str, str], ...] = ()
    fresh: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class KerasLayout:
    """How the original authors' Keras 2 files of a family are laid out; each function raises ValueError.

    Attributes:
      layout: config -> the groups of its file in order, and the modules (dotted paths) their layers belong to.
      sequence: config -> modules in the order of Keras' layers inside nested models.
      renumber: groups of a file -> the same with the layers' numbers counted from the start.
      infer: groups of a file -> the settings it was written with; None if files do not tell them.
    """

    layout: Callable[..., dict[str, Kinds]]
    sequence: Callable[..., Sequence[str]] = lambda config: ()
    renumber: Callable[[dict[str, Group]], dict[str, Group]] = lambda groups: groups
    infer: Callable[[dict[str, Group]], NetworkConfig] | None = None


@dataclass(frozen=True)
class Entry:
    """One network of a family by a name of its own.

    Attributes:
      config: its settings.
      skeleton: its joints; None for a network without any.
      actions: names of its action classes; () for a network that recognises none.
      published: the figure given for it, with the protocol; "" if there is none.
      release: whole address of the published weight file; "" if there is none.
      md5: of that file; "" if none is given.
    """

    config: NetworkConfig
    skeleton: Skeleton | None = None
    actions: tuple[str, ...] = ()
    published: str = ""
    release: str = ""
    md5: str = ""


@dataclass(frozen=True)
class Family:
    """Networks of one kind: how they are built, which there are, and how their weights are called elsewhere.

    Attributes:
      name: by which our files know it.
      config: class of its settings, a frozen dataclass that fulfils `NetworkConfig`.
      build: (config, *, dtype, rngs) -> a network in training mode, with `.config`.
      entries: name -> network, the names unique over all families.
      tiny: settings that make any of its networks small enough for tests.
      table: names and kinds of the weights in PyTorch state dicts; the first rule that matches counts.
      ignored: regular expressions for names in PyTorch state dicts that hold no weight.
      keras: the layout of its Keras files; None if there are none.
      trunk: dotted path of the part that sees the frames, which heads are trained on; "" if there is no such part.
      transfer: how its networks start from those with other heads.
      skeletons: joint layouts that its networks are trained for, one a number of joints.
    """

    name: str
    config: type
    build: Callable[..., nnx.Module]
    entries: Mapping[str, Entry] = field(default_factory=dict)
    tiny: Mapping[str, object] = field(default_factory=dict)
    table: tuple[Rule, ...] = LAYERS
    ignored: tuple[str, ...] = (r".*\.num_batches_tracked",)
    keras: KerasLayout | None = None
    trunk: str = ""
    transfer: Transfer = Transfer()
    skeletons: tuple[Skeleton, ...] = ()
