"""Human pose estimation and action recognition in JAX/Flax, exact to the published networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxhar import port, zoo
    from jaxhar.inference import infer

__all__ = ["infer", "port", "zoo"]


def __getattr__(name: str) -> Any:
    """Imports a name when it is first used: importing JAX takes a second, and not every command needs it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("jaxhar.inference").infer if name == "infer" else import_module(f"jaxhar.{name}")
