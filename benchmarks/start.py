"""How long a data set takes to start, and its memory: `python -m benchmarks.start --records 1000 100000`.

Records are small: the joints of one frame, without pictures. Each set is packed once, in a folder that is kept with
--cache. Then new processes open it, and draw a first batch for training and one for evaluation. Their memory is what
they need beyond the imports, without the mapped index, of which the system keeps one copy for all that map it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import ClassVar

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxhar.data.dataset import DataSet
from jaxhar.data.records import sequences, store
from jaxhar.data.records.record import Field, Folder, PackOptions, Record

ROUNDS = 3


@dataclass(frozen=True)
class Small(DataSet):
    """As many records as its folder says in a file; every tenth is for evaluation."""

    skeleton: None = None
    clip_frames: int | tuple[int, ...] = 1

    title: ClassVar[str] = "small records"
    home: ClassVar[str] = "small"

    def open(self, root):
        count = int((root / "count").read_text())
        return Folder(
            self.title, f"small-{count}", root, lambda: [str(count)], lambda _: (range(count), []), load, FIELDS
        )

    def generate(self, out, synth):
        raise NotImplementedError

    def example(self, record, frames, draw, keep_outside=False):
        return {"points": record["points"][frames], "sequence": np.int32(record["index"]), "mask": np.bool_(True)}


FIELDS = {"points": Field((None, 17, 2))}


def load(number: int, skip_broken: bool):
    points = np.full((1, 17, 2), number, np.float32)
    return Record(f"sequence-{number:08d}", "test" if number % 10 == 9 else "train", 1, {"points": points}), []


def memory() -> float:
    """Memory of this process in MB, without mapped files."""
    status = Path("/proc/self/status").read_text()
    return next(float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def opened(root: Path) -> dict[str, float]:
    """Seconds and megabytes of a process that opens a packed set and draws batches."""
    import grain  # noqa: F401

    from jaxhar.data.records import shards  # noqa: F401

    settings = Small(root=str(root), cache=str(root), clips_per_batch=64)
    begun, before = time.perf_counter(), memory()
    prepared = settings.prepare(root)
    found = {"open": time.perf_counter() - begun}
    stream = prepared.train_stream(0)
    next(stream)
    found["training"] = time.perf_counter() - begun
    stream.close()
    now = time.perf_counter()
    next(iter(prepared.eval_stream(batch=64)))
    return {**found, "evaluation": time.perf_counter() - now, "megabytes": memory() - before}


def packed(folder: Path, count: int, workers: int) -> tuple[Path, float, float]:
    """The folder with a packed set of `count` records, the seconds that it took, and the MB of its mapped index."""
    root = folder / str(count)
    root.mkdir(parents=True, exist_ok=True)
    (root / "count").write_text(str(count))
    begun = time.perf_counter()
    opening = partial(Small(root=str(root), cache=str(root)).open, root)
    path = store.pack(opening(), root, options=PackOptions(workers, open=opening))
    seconds = time.perf_counter() - begun
    size = sum((path / name).stat().st_size for name in (sequences.SEQUENCES, sequences.NAMES))
    return root, seconds, size / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 100_000], help="sizes of the sets")
    parser.add_argument("--cache", type=Path, help="folder for the packed sets, kept (default: a temporary one)")
    parser.add_argument("--workers", type=int, default=2, help="packing processes (default: %(default)s)")
    parser.add_argument("--opened", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.opened:
        print(json.dumps(opened(args.opened)))
        return
    columns = ("open", "training", "evaluation", "megabytes")
    table = Table("records", "pack s", "open s", "to a training batch s", "evaluation batch s", "memory MB", "index MB")
    with tempfile.TemporaryDirectory() as temporary:
        for count in args.records:
            root, seconds, size = packed(args.cache or Path(temporary), count, args.workers)
            words = [sys.executable, "-m", "benchmarks.start", "--opened", str(root)]
            runs = [json.loads(subprocess.check_output(words).splitlines()[-1]) for _ in range(ROUNDS)]
            values = [f"{median(run[name] for run in runs):.3g}" for name in columns]
            table.add_row(f"{count:,}", f"{seconds:.3g}", *values, f"{size:.3g}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
