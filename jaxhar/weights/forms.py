"""Reading and writing networks in all weight formats (the command `jaxhar port`); every weight is checked.

The format is detected by content when reading, and by the file name's suffix when writing.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flax import nnx
from safetensors import SafetensorError, safe_open

from jaxhar import zoo
from jaxhar.core.family import Entry
from jaxhar.core.network import NetworkConfig
from jaxhar.host.errors import Problem, Usage
from jaxhar.host.settings import override
from jaxhar.weights import checkpoint, keras
from jaxhar.weights.checkpoint import Meta
from jaxhar.weights.flat import Flat, by_module, fill, from_flat, shapes, to_flat
from jaxhar.weights.keras.files import save_keras
from jaxhar.weights.state_dict import StateDict, read_pth, read_safetensors
from jaxhar.weights.torch import read_torch, save_pth, to_torch, trunk_misfit


@dataclass(frozen=True)
class Loaded:
    """A network read from a file.

    Attributes:
      model: the network in evaluation mode.
      meta: joints, action names and settings.
      notes: sentences on what the file told about the settings and where its weights lay; with `partial` also which
        weights kept their initial values and which were not used.
    """

    model: nnx.Module
    meta: Meta
    notes: tuple[str, ...] = ()


def load(
    source: Path, name: str | None = None, changes: Mapping[str, str] | None = None, partial: bool = False
) -> Loaded:
    """Loads a network from a Keras .h5 file, a model folder, a training working directory, .safetensors or .pth file.

    Args:
      source: the file; its format is detected by content.
      name: name of the network in the zoo; needed for files without settings, i.e. all but jaxhar's. None or "auto" if
        the settings can be inferred from the file.
      changes: settings that differ from the zoo's, as text.
      partial: load the weights that match by name and shape; the others keep their initial values.

    Raises:
      Problem: the file cannot be read or does not match the network.
      Usage: the network must be named, or settings are given for a file that contains them.
    """
    name = None if name == "auto" else name
    kind = file_kind(source)
    described = f"the weights in {source}"
    if kind == "ours":
        if changes and not partial:
            raise Usage(f"{source} carries the settings of its network: --set is for Keras and PyTorch files")
        if not (partial and name):
            model, meta = checkpoint.load_model(source)
            if name and zoo.config(name) != meta.config:
                raise Problem(f"{source} holds a network of other settings than {name}: leave --model out")
            return Loaded(model, meta)
    if name is None:
        config, entry = _infer(source, kind)
    else:
        entry = zoo.entry(name)
        config = entry.config
    config = override(config, changes or {})
    flat, complaints, config, notes = _read(source, kind, config, changes or {})
    if partial and kind in ("torch", "safetensors"):
        wrong = trunk_misfit(_state(source, kind).arrays, flat, config)
        if wrong:
            raise Problem(f"{described} do not fit the trunk of the network: {wrong}")
    meta = checkpoint.Meta(*zoo.labels(entry, config), config)
    if not partial:
        return Loaded(from_flat(flat, config, described, complaints), meta, notes)
    model, fresh, unused = fill(flat, config, described)
    unused += [c for c in complaints if "missing" not in c and "has no layer" not in c]
    fresh = by_module(fresh, shapes(config))
    return Loaded(model, meta, (*notes, _listed("left at its initial value", fresh), _listed("not used", unused)))


def resized(loaded: Loaded, changes: Mapping[str, str]) -> Loaded:
    """The network for frames of another size or clips of another length, with interpolated positions.

    Args:
      changes: its settings that differ, as text.

    Raises:
      Usage: networks of this family have no positions, or a setting does not exist.
      Problem: weights other than positions depend on these settings.
    """
    config = loaded.meta.config
    family, wanted = zoo.family(config), override(config, changes)
    if family.resized is None:
        raise Usage(f"networks of the family {family.name} have no positions that could be interpolated")
    described = f"the weights for {', '.join(f'{name}={text}' for name, text in changes.items())}"
    flat = family.resized(to_flat(loaded.model), config, wanted)
    note = f"positions are interpolated to {', '.join(f'{name}={text}' for name, text in changes.items())}"
    model = from_flat(flat, wanted, described)
    return replace(loaded, model=model, meta=replace(loaded.meta, config=wanted), notes=(*loaded.notes, note))


def _read(
    source: Path, kind: str, config: NetworkConfig, changes: Mapping[str, str]
) -> tuple[Flat, list[str], NetworkConfig, tuple[str, ...]]:
    """The weights of a file, a list of mismatches, the settings with those that the file tells, and sentences on it.

    Settings in `changes` stay as they are.
    """
    if kind == "ours":
        return checkpoint.load_flat(source)[0], [], config, ()
    untold = [why for name, why in zoo.family(config).untold(config).items() if name not in changes]
    if kind != "keras":
        found = _state(source, kind)
        return *read_torch(found.arrays, config), config, (*found.notes, *untold)
    groups = keras.read(source)
    told = {name: text for name, text in keras.told(groups, config).items() if name not in changes}
    config = override(config, told)
    flat, complaints = keras.assign(groups, config)
    notes = tuple(f"{name}={text}, as the constants in {source} tell" for name, text in told.items())
    return flat, complaints + ([] if told or not complaints else untold), config, notes


def _state(source: Path, kind: str) -> StateDict:
    return read_pth(source) if kind == "torch" else read_safetensors(source)


def _infer(source: Path, kind: str) -> tuple[NetworkConfig, Entry]:
    """Settings inferred from the names and shapes in a file, and the most similar entry of the zoo.

    Raises:
      Usage: they cannot be inferred.
    """
    problem = Usage(f"{source} does not say which network it is of: add --model, one of {', '.join(zoo.names())}")
    if kind != "keras":
        raise problem
    groups = keras.read(source)
    try:
        config = keras.infer_config(groups)
    except Problem as error:
        raise problem from error
    entries = zoo.family(config).entries.values()
    return config, max(
        entries, key=lambda e: (e.config.classes == config.classes, e.config.pose_shape == config.pose_shape)
    )


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}: {'; '.join(names) or 'nothing'}"


def save(loaded: Loaded, out: Path) -> None:
    """Writes a network as Keras .h5 or .hdf5, PyTorch state dict .pth or .pt, .safetensors, or else as a folder.

    Raises:
      Problem: it cannot be written.
    """
    if out.suffix not in (".h5", ".hdf5", ".pth", ".pt"):
        meta = loaded.meta
        checkpoint.save_model(
            out, loaded.model, meta.skeleton, meta.actions, meta.trained, meta.familiar, meta.calibration
        )
        return
    flat = to_flat(loaded.model)
    if out.suffix in (".h5", ".hdf5"):
        save_keras(out, flat, loaded.meta.config)
    else:
        save_pth(to_torch(flat, loaded.meta.config), out)


def file_kind(path: Path) -> str:
    """The format of a weight file by its content.

    "keras", "torch", "safetensors" (of another program), or "ours" (a folder, or safetensors that jaxhar wrote).

    Raises:
      Problem: the file does not exist, is damaged or has another format.
    """
    if not path.exists():
        raise Problem(f"{path}: there is no such file or folder")
    if path.is_dir():
        return "ours"
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start.startswith(b"\x89HDF\r\n\x1a\n"):
            return "keras"
        if start.startswith(b"\x80\x02"):
            return "torch"
        if start.startswith(b"PK\x03\x04"):
            names = _members(path)
            if any(name.endswith("data.pkl") for name in names):
                return "torch"
            if "model.weights.h5" in names:
                raise Problem(
                    f"{path} is a Keras 3 model: load it in Keras and write it with save_weights to a .h5 file"
                )
        elif start[8:9] == b"{":
            return "ours" if _is_ours(path) else "safetensors"
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror}") from error
    raise Problem(f"{path} is not a weight file: neither Keras .h5, nor .safetensors, nor a PyTorch .pth")


def _members(path: Path) -> list[str]:
    """The names in a zip archive; Problem if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception as error:  # of a damaged directory zipfile raises many types
        raise Problem(f"{path} is damaged: an incomplete zip archive; copy or download it again") from error


def _is_ours(path: Path) -> bool:
    """Whether a .safetensors file has a header of jaxhar; Problem if the file is damaged."""
    try:
        with safe_open(path, "np") as file:
            return "jaxhar" in (file.metadata() or {})
    except SafetensorError as error:
        raise Problem(f"{path} is damaged or not a safetensors file: {error}") from error


def count(loaded: Loaded) -> int:
    """Number of parameters and running statistics of the network."""
    return sum(array.size for array in to_flat(loaded.model).values())
