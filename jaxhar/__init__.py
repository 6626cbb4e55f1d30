"""Human pose estimation and action recognition in JAX/Flax, exact to the published networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxhar import port, zoo
    from jaxhar.core.batch import to_image
    from jaxhar.data.transforms import crop_person as crop
    from jaxhar.inference import infer
    from jaxhar.predict.predictor import load

__all__ = ["crop", "infer", "load", "port", "to_image", "zoo"]

#: Functions by their public names: module and name there.
_FUNCTIONS = {
    "crop": ("jaxhar.data.transforms", "crop_person"),
    "infer": ("jaxhar.inference", "infer"),
    "load": ("jaxhar.predict.predictor", "load"),
    "to_image": ("jaxhar.core.batch", "to_image"),
}


def __getattr__(name: str) -> Any:
    """Imports a name when it is first used: importing JAX takes a second, and not every command needs it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _FUNCTIONS:
        return import_module(f"jaxhar.{name}")
    module, function = _FUNCTIONS[name]
    return vars(import_module(module))[function]
