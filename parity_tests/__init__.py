"""Tests that compare JAX networks, PyTorch networks and deephar's outputs."""
