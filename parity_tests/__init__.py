"""JAX against PyTorch against the authors' own outputs. The only place where torch meets jax."""
