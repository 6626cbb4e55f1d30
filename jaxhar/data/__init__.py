"""Data sets: readers, generators of test data, and the input pipeline."""
