"""What generic code asks of a network: its settings say what it reads, in which shapes, and what it predicts."""

from typing import Protocol

import jax

from jaxhar.core.pixels import Pixels


class NetworkConfig(Protocol):
    """The settings of a network, a frozen dataclass. Training, evaluation and export ask these and nothing else."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Keys of the batch that the network needs; others of the vocabulary it uses where they are there."""

    @property
    def predicts(self) -> tuple[str, ...]:
        """Keys of its predictions in evaluation."""

    @property
    def pixels(self) -> Pixels | None:
        """Normalisation of its frames; None for a network without frames."""

    @property
    def frames_apart(self) -> bool:
        """Whether no prediction depends on more than one frame, so that clips may be cut along time."""

    @property
    def pose_shape(self) -> tuple[int, int] | None:
        """(J, D) of its poses; None for a network that predicts none."""

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes of every set of action labels; () for a network that predicts no action."""

    def inputs(self, batch: object, frames: int | None = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of what it reads.

        Args:
          batch: B, a number or a symbol of `jax.export`. frames: T; None for the length it was made for.
        """


def frame_size(config: NetworkConfig) -> tuple[int, int]:
    """(height, width) of a network's frames; KeyError for a network without frames."""
    height, width = config.inputs(1)["frames"].shape[2:4]
    return height, width


def clip_length(config: NetworkConfig) -> int:
    """Frames of the clips that a network was made for, 1 for stills; KeyError for a network without frames."""
    return config.inputs(1)["frames"].shape[1]
