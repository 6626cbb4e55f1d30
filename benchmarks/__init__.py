"""Measurements behind the choices of form, and against the PyTorch twin."""
