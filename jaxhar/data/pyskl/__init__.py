"""Skeletons in the pickles of pyskl and mmaction2."""
