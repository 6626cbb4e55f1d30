"""Transformer over the joints of skeleton sequences."""
