"""Interface of network settings: inputs with their shapes, predictions, pixel statistics."""

from typing import Protocol, runtime_checkable

import jax

from jaxhar.core.batch import Batch
from jaxhar.core.gaussian import Decoding
from jaxhar.core.patches import Patching
from jaxhar.core.pixels import Pixels


class NetworkConfig(Protocol):
    """Settings of a network, a frozen dataclass. Training, evaluation and export use only these members."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Keys of the batch that the network requires; it may use further keys when they are present."""

    @property
    def predicts(self) -> tuple[str, ...]:
        """Keys of its predictions in evaluation."""

    @property
    def pixels(self) -> Pixels | None:
        """Pixel normalisation of the frames; None for a network without frames."""

    @property
    def frames_apart(self) -> bool:
        """Whether every prediction depends on one frame only, so that clips may be split along time."""

    @property
    def pose_shape(self) -> tuple[int, int] | None:
        """(J, D) of the predicted poses; None for a network without poses."""

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes of each label set; () for a network without actions."""

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of the inputs by key.

        Args:
          batch: B, a number or a symbolic size of `jax.export`.
          frames: T; None for the default clip length.
        """


@runtime_checkable
class Describing(Protocol):
    """A network that describes how images look to its trunk, so that unfamiliar ones are noticed."""

    def appearance(self, batch: Batch) -> jax.Array:
        """Features of every frame averaged over positions: frames (B, T, H, W, 3) -> (B, T, S)."""


@runtime_checkable
class Showing(Protocol):
    """A network that names actions and shows what it sees in a clip, for the pictures of a report."""

    def shows(self, batch: Batch) -> dict[str, jax.Array]:
        """What it has of these: volume (B, T, h, w, C), its heat maps of joints or limbs; attention (B, T, M, J), the
        share of each joint in what the class is told from; rollout (B, T', h, w), that of each patch of T' steps of
        time."""


@runtime_checkable
class Viewing(Protocol):
    """Settings of a network whose frames are the views of one moment by several cameras, not a clip."""

    @property
    def views(self) -> int:
        """V, the number of views that it reads together."""


@runtime_checkable
class FromMaps(Protocol):
    """Settings of a network that predicts heat maps and decodes its joints from them."""

    @property
    def decoding(self) -> Decoding:
        """How a joint's position is found in its map, see `jaxhar.core.gaussian.joints`."""


@runtime_checkable
class Reconstructing(Protocol):
    """Settings of a network that reconstructs patches of its frames."""

    @property
    def patching(self) -> Patching:
        """What it reconstructs."""


@runtime_checkable
class Scheduled(Protocol):
    """Settings of a network that may change over the steps of its training."""

    @property
    def moves(self) -> bool:
        """Whether it reads `step` of a batch, in evaluation too; without it, it is as at the end of the training."""


def check_numbers(config: object, *sizes: str, **ranges: tuple[float, float]) -> None:
    """ValueError that names a setting that makes no sense, with its value: the first thing to check in settings.

    Args:
      sizes: names of numbers that must be 1 or more, of tuples of such, or of None for a default.
      ranges: name -> smallest and largest value of a number; NaN is none.
    """
    for name in sizes:
        value = vars(config)[name]
        if not all(one is None or one >= 1 for one in (value if isinstance(value, tuple | list) else (value,))):
            raise ValueError(f"{name} must be 1 or more, not {value}")
    for name, (low, high) in ranges.items():
        if not low <= vars(config)[name] <= high:
            raise ValueError(f"{name} must be a number from {low} to {high}, not {vars(config)[name]}")


def inputs_of(config: NetworkConfig, batch: Batch) -> Batch:
    """What a network reads of a batch: with several views also whether they belong together, and perhaps the step."""
    wanted = {*config.reads, *(("together",) if isinstance(config, Viewing) else ())}
    wanted |= {"step"} if isinstance(config, Scheduled) and config.moves else set()
    return {key: value for key, value in batch.items() if key in wanted}  # type: ignore[return-value]


def frame_size(config: NetworkConfig) -> tuple[int, int]:
    """(height, width) of a network's frames; KeyError for a network without frames."""
    height, width = config.inputs(1)["frames"].shape[2:4]
    return height, width


def clip_length(config: NetworkConfig) -> int:
    """Default clip length T of a network, 1 for stills and for views of one moment; KeyError without frames."""
    return 1 if isinstance(config, Viewing) else config.inputs(1)["frames"].shape[1]
