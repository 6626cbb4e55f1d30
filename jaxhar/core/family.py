"""What a family of networks tells of itself."""

import numpy as np

#: layer -> weight -> array
Group = dict[str, dict[str, np.ndarray]]


#: What the layers of one kind are, in the order of their numbers: modules by dotted path, or weights known beforehand.
Kinds = dict[str, list[str | dict[str, np.ndarray]]]
