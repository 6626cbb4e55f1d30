"""Readers, generators and the input pipeline."""
