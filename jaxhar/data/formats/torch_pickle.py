"""Tensors of PyTorch within a pickle, read without PyTorch and without executing anything in them.

A plain pickle of a tensor holds what `torch.save` wrote of its storage in the form before zip files: pickles of a magic
number, the version, the machine, a reference to the storage and its key; then the number of elements, and these.
"""

import io
import math
import pickle

import numpy as np

#: First pickle of a storage.
_MAGIC = 0x1950A86A20F9469CFC6C
_KINDS = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class Damaged(Exception):
    """A storage or a tensor is not of the known form; the message describes it."""


class _Reference(pickle.Unpickler):
    """Reads the pickles of a storage, in which only the type of its elements is named."""

    def find_class(self, module: str, name: str) -> str:
        if module != "torch" or name not in _KINDS:
            raise Damaged(f"{module}.{name}")
        return _KINDS[name]

    def persistent_load(self, reference: object) -> str:
        if not isinstance(reference, tuple) or len(reference) < 2 or reference[1] not in _KINDS.values():
            raise Damaged("a storage of unknown elements")
        return str(reference[1])


def storage(data: object) -> np.ndarray:
    """The elements (n,) of a storage from its bytes; stands for `torch.storage._load_from_bytes`."""
    if not isinstance(data, bytes):
        raise Damaged("a storage that is not bytes")
    file = io.BytesIO(data)
    magic, _, _, kind, _ = (_Reference(file).load() for _ in range(5))
    if magic != _MAGIC or kind not in _KINDS.values():
        raise Damaged("a storage of unknown form")
    count = int.from_bytes(file.read(8), "little", signed=True)
    rest = file.read()
    if count < 0 or len(rest) != count * np.dtype(kind).itemsize:
        raise Damaged(f"a storage of {count} elements with {len(rest)} bytes")
    return np.frombuffer(rest, kind)


def tensor(elements: object, offset: object, shape: object, steps: object, *_: object) -> np.ndarray:
    """An array of elements; stands for `torch._utils._rebuild_tensor_v2`.

    Args:
      elements: from `storage`. offset: of the first element. shape, steps: length of each axis, and how many elements
        further its next one is.
    """
    if not (isinstance(elements, np.ndarray) and isinstance(shape, tuple) and isinstance(steps, tuple)):
        raise Damaged("a tensor of unknown form")
    numbers = (offset, *shape, *steps)
    if len(shape) != len(steps) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise Damaged("a tensor of unknown form")
    start = int(str(offset))
    last = start + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if math.prod(shape) > elements.size or (math.prod(shape) and last >= elements.size):
        raise Damaged(f"a tensor of shape {shape} over {elements.size} elements")
    if not math.prod(shape):
        return np.zeros(shape, elements.dtype)
    inside = [step * elements.itemsize for step in steps]
    return np.lib.stride_tricks.as_strided(elements[start:], shape, inside, writeable=False).copy()
