"""Human pose estimation and action recognition in JAX/Flax, exact to the published networks."""

from jaxhar import port, zoo
from jaxhar.inference import infer

__all__ = ["infer", "port", "zoo"]
