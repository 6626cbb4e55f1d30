"""Human pose estimation and action recognition in JAX/Flax."""
