"""The training checkpoints of a run: written by Orbax in the background, with a checksum of every array.

A checkpoint is the folder checkpoints/STEP of the working directory. Orbax writes it under a temporary name and renames
it when all is on the disk, so that a killed write leaves no checkpoint. It holds

    model/      weights and running statistics, by dotted path
    training/   optimizer and step
    record/     a JSON text: state of the loop, description of the model, and type, shape and crc32 of every array
    files.json  the crc32 of every file of these three

Of several processes each writes its part of the arrays, and process 0 the rest; all read the same checkpoint.

Orbax itself notices few damaged bits, so files and arrays are compared with their checksums when they are read.
Checkpoints of the earlier form, checkpoints/STEP.safetensors, are read too.
"""

import json
import logging
import os
import shutil
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxhar.host import cluster, files
from jaxhar.host.errors import Problem
from jaxhar.weights import tensor_file
from jaxhar.weights.tensor_file import Flat, checksum

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

FOLDER = "checkpoints"
_RECORD = "record"
_FILES = "files.json"
#: Ending of the file of a checkpoint of the earlier form, and the prefix of its arrays of the model.
_OLD = ".safetensors"
_OLD_MODEL = "model/"
#: Beginning of the name of a checkpoint that is being deleted, and a part of the name of one that is being written.
_LEAVING, _COMING = ".leaving-", ".orbax-checkpoint-tmp"

Arrays = Mapping[str, np.ndarray | jax.Array]


@dataclass(frozen=True)
class Saved:
    """A training checkpoint in memory.

    Attributes:
      step: number of training steps done.
      model: weights and running statistics by dotted path.
      training: further arrays by name: optimizer and step; {} if only the model was read.
      record: further state of the training loop, JSON-serialisable.
      figure: the score by which the best checkpoint is chosen (larger is better), or None.
    """

    step: int
    model: Arrays
    training: Arrays
    record: dict[str, Any]
    figure: float | None = None


class Store:
    """The training checkpoints of a working directory: the latest few and the best."""

    def __init__(self, workdir: Path, keep_last: int = 2, keep_best: bool = False):
        """Creates the folder and removes the rest of interrupted writes; Problem if it is not writable."""
        self.folder = Path(workdir).absolute() / FOLDER
        self.keep_last, self.keep_best = keep_last, keep_best
        self._writing: int | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not cluster.first():
                return
            for rest in (*self.folder.glob(f"*{_COMING}*"), *self.folder.glob(f"{_LEAVING}*")):
                shutil.rmtree(rest)
            for rest in self.folder.glob(".*.tmp"):
                rest.unlink()
        except OSError as error:
            raise files.cannot_write(self.folder, error) from error

    @cached_property
    def _orbax(self) -> "ocp.AsyncCheckpointer":
        import orbax.checkpoint as ocp

        _silence()
        options = ocp.options.AsyncOptions(post_finalization_callback=self._add_files)
        return ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler(), async_options=options)

    def _add_files(self) -> None:
        """Writes files.json; Orbax calls this before it renames the folder."""
        (path,) = self.folder.glob(f"{self._writing}{_COMING}*")
        files.write(path / _FILES, json.dumps(_file_checksums(path)).encode())

    def save(self, saved: Saved, model: dict[str, object]) -> None:
        """Starts to write a checkpoint and returns once its arrays are copied; waits for the one before.

        Args:
          saved: replaces a checkpoint of the same step; floats in the record are stored exactly.
          model: the description from `checkpoint.describe`.

        Raises:
          Problem: the checkpoint before this one could not be written.
        """
        import orbax.checkpoint as ocp

        self.wait()
        parts = {"model": saved.model, "training": saved.training}
        # Views of arrays on the host, which Orbax copies before `save` returns: faster than its way for jax arrays.
        views = {part: {name: np.asarray(a) for name, a in flat.items()} for part, flat in parts.items()}
        described = views if cluster.first() else {}  # process 0 writes the record
        table = {part: {name: _described(array) for name, array in flat.items()} for part, flat in described.items()}
        training = {"step": saved.step, "record": saved.record, "figure": saved.figure}
        text = json.dumps({**model, "training": training, "arrays": table})
        record = {"crc32": zlib.crc32(text.encode()), "text": text}
        arrays = views if cluster.count() == 1 else parts  # of arrays on all devices each process writes a part
        items = {part: ocp.args.PyTreeSave(flat) for part, flat in arrays.items() if flat}  # Orbax refuses empty ones
        args = ocp.args.Composite(**items, **{_RECORD: ocp.args.JsonSave(record)})
        self._writing = saved.step
        try:
            self._orbax.save(self.folder / str(saved.step), args=args, force=True)
        except Exception as error:
            raise self._failed(error) from error

    def check(self) -> None:
        """Problem if the checkpoint that is being written has failed; does not wait."""
        if self._writing is not None:
            try:
                self._orbax.check_for_errors()
            except Exception as error:
                raise self._failed(error) from error

    def wait(self) -> None:
        """Waits until the last checkpoint is on the disk, then removes outdated ones; Problem if it has failed."""
        if self._writing is None:
            return
        try:
            self._orbax.wait_until_finished()
        except Exception as error:
            raise self._failed(error) from error
        self._writing = None
        for step in self._outdated() if cluster.first() else ():
            path = _path(self.folder, step)
            try:
                if path.is_dir():  # first by another name, so that a kill leaves no part of a checkpoint
                    leaving = path.with_name(f"{_LEAVING}{step}")
                    os.replace(path, leaving)
                    shutil.rmtree(leaving)
                else:
                    path.unlink()
            except OSError as error:
                raise files.cannot_write(path, error) from error

    def close(self) -> None:
        """Waits for the last checkpoint; a failure is printed, not raised, because another error may be on its way."""
        try:
            self.wait()
        except Problem as problem:
            print(problem, file=sys.stderr)
        if "_orbax" in self.__dict__:
            self._orbax.close()

    def restore(self) -> Saved | None:
        """The newest intact checkpoint; None if there are none. Damaged ones are reported and renamed.

        Raises:
          Problem: there are checkpoints, but none is intact.
        """
        saved, damaged = _first_intact(self.folder, cluster.gather(_steps(self.folder))[0], True, together=True)
        if saved is not None and cluster.first():
            for step in damaged:
                path = _path(self.folder, step)
                aside = path.with_name(f"{step}.damaged")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
        return saved

    def _failed(self, error: Exception) -> Problem:
        path = self.folder / str(self._writing)
        self._writing = None
        if cluster.count() > 1:  # another process may still write there
            return files.cannot_write(path, _os_error(error))
        for rest in self.folder.glob(f"*{_COMING}*"):  # on a full disk, room for what comes
            shutil.rmtree(rest, ignore_errors=True)
        return files.cannot_write(path, _os_error(error))

    def _outdated(self) -> list[int]:
        steps = _steps(self.folder)
        kept = steps[: self.keep_last]
        if self.keep_best:
            kept += _best(self.folder, steps)
        return [step for step in steps if step not in kept]


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is the folder of one checkpoint."""
    return path.name.isdigit() and (path / _RECORD).is_dir()


def read(path: Path, with_training: bool = False) -> Saved:
    """A checkpoint from its folder, or from a file of the earlier form.

    Its record also has the description of the model, "model".

    Args:
      with_training: whether to read the arrays of the optimizer too.

    Raises:
      Problem: it is damaged.
    """
    path = path.absolute()  # Orbax reads no others
    if path.suffix == _OLD:
        arrays, description = tensor_file.read(path)
        model = {n.removeprefix(_OLD_MODEL): a for n, a in arrays.items() if n.startswith(_OLD_MODEL)}
        rest = {n: a for n, a in arrays.items() if not n.startswith(_OLD_MODEL)} if with_training else {}
    else:
        _check_files(path)
        description = _read_record(path)
        table = description.pop("arrays")
        model = _read_arrays(path, "model", table["model"])
        rest = _read_arrays(path, "training", table["training"]) if with_training else {}
    training = description["training"]
    return Saved(training["step"], model, rest, {**training["record"], "model": description}, training["figure"])


def read_best(workdir: Path) -> Saved | None:
    """The model of the checkpoint with the best score, else of the newest intact one; None if there are none.

    Modifies no files, so it can be used during training.
    """
    folder = Path(workdir).absolute() / FOLDER
    steps = _steps(folder)
    best = _best(folder, steps)
    return _first_intact(folder, best + [step for step in steps if step not in best])[0]


def _steps(folder: Path) -> list[int]:
    """Step numbers of the checkpoints, newest first."""
    names = (p.name.removesuffix(_OLD) for p in folder.iterdir()) if folder.is_dir() else ()
    return sorted({int(name) for name in names if name.isdigit()}, reverse=True)


def _path(folder: Path, step: int) -> Path:
    path = folder / str(step)
    return path if path.is_dir() else path.with_suffix(_OLD)


def _best(folder: Path, steps: list[int]) -> list[int]:
    """The step with the best score, the later one if equal; [] if no checkpoint has a score."""
    rated = []
    for step in steps:
        path = _path(folder, step)
        try:
            header = tensor_file.read_header(path) if path.suffix == _OLD else _read_record(path)
            figure = header["training"]["figure"]
        except (Problem, KeyError):
            continue  # damage is reported when the arrays are read
        if figure is not None:
            rated.append((figure, step))
    return [max(rated)[1]] if rated else []


def _first_intact(
    folder: Path, steps: list[int], with_training: bool = False, together: bool = False
) -> tuple[Saved | None, list[int]]:
    """The first readable checkpoint and the damaged steps before it; Problem if all are damaged.

    Args:
      together: all processes read at the same time, and what one cannot read none uses.
    """
    damaged: list[int] = []
    for step in steps:
        saved, problem = None, None
        try:
            saved = read(_path(folder, step), with_training)
        except (Problem, KeyError) as error:
            problem = str(error)
        problems = [one for one in cluster.gather(problem) if one] if together else [problem] if problem else []
        if not problems:
            return saved, damaged
        damaged.append(step)
        if not together or cluster.first():
            print(f"{problems[0]}; trying the previous checkpoint", file=sys.stderr)
    if damaged:
        raise Problem(f"no checkpoint in {folder} is intact; move that folder away to start over")
    return None, damaged


@cache
def _silence() -> None:
    """Keeps tracebacks of Orbax's and TensorStore's threads from stderr; what has failed is raised by `wait` too."""
    previous = sys.unraisablehook

    def hook(error: "sys.UnraisableHookArgs") -> None:
        if "Event loop is closed" not in str(error.exc_value):  # of reads and writes beside the one that failed
            previous(error)

    sys.unraisablehook = hook
    logging.getLogger("absl").addFilter(lambda line: f"{os.sep}orbax{os.sep}" not in line.pathname)
    logging.getLogger("asyncio").addFilter(lambda line: "never retrieved" not in line.getMessage())


def _described(array: np.ndarray) -> dict[str, object]:
    return {"dtype": array.dtype.name, "shape": list(array.shape), "crc32": checksum(array)}


def _file_checksums(path: Path) -> dict[str, int]:
    """The crc32 of every file of the parts of a checkpoint, by its path in the folder."""
    found = (p for p in sorted(path.glob("*/**/*")) if p.is_file())
    return {str(p.relative_to(path)): zlib.crc32(p.read_bytes()) for p in found}


def _check_files(path: Path) -> None:
    """Problem if a file differs from its checksum, is missing or is new."""
    try:
        wanted = json.loads((path / _FILES).read_bytes())
        found = _file_checksums(path)
    except (OSError, ValueError) as error:
        raise Problem(f"{path} is damaged: {_FILES} cannot be read ({type(error).__name__})") from error
    if found != wanted:
        differing = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
        raise Problem(f"{path} is damaged: {differing[0]} is not as it was written")


def _read_record(path: Path) -> dict[str, Any]:
    """The record of a checkpoint, after its checksum was compared."""
    try:
        record = json.loads((path / _RECORD / "metadata").read_bytes())
        text = record["text"]
        intact = zlib.crc32(text.encode()) == record["crc32"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Problem(f"{path} is damaged: its record cannot be read ({type(error).__name__})") from error
    if not intact:
        raise Problem(f"{path} is damaged: the checksum of its record differs")
    return json.loads(text)


def _read_arrays(path: Path, part: str, table: dict[str, dict[str, Any]]) -> Flat:
    """The arrays of one part of a checkpoint, after their checksums were compared with those of the table."""
    import orbax.checkpoint as ocp

    if not table:
        return {}
    _silence()
    wanted = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in table}
    args = ocp.args.PyTreeRestore(item=dict.fromkeys(table, 0), restore_args=wanted)
    try:
        alone = ocp.options.MultiprocessingOptions(cluster.index(), {cluster.index()}, f"read{cluster.index()}")
        handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            flat = checkpointer.restore(path / part, args=args)
    except Exception as error:  # of Orbax and TensorStore, of many types
        raise Problem(f"{path} is damaged: {_reason(error)}") from error
    flat = {name: np.asarray(array) for name, array in flat.items()}
    for name, described in table.items():
        if _described(flat[name]) != described:
            raise Problem(f"{path} is damaged: the checksum of {name} differs")
    return flat


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and its causes."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _reason(error: Exception) -> str:
    """The last cause of an error in one line of at most 200 letters."""
    cause = _chain(error)[-1]
    return (str(cause).split("\n")[0] or type(cause).__name__)[:200]


def _os_error(error: Exception) -> OSError:
    """The operating system's error behind an error of Orbax, which keeps some only as a text."""
    for cause in _chain(error):
        if isinstance(cause, OSError):
            return cause
    text = " ".join(map(str, _chain(error)))
    for code, words in ((28, "No space left"), (122, "Disk quota"), (27, "File too large"), (13, "Permission denied")):
        if words in text:
            return OSError(code, os.strerror(code))
    return OSError(None, _reason(error))
