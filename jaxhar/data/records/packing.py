"""Packs a folder in parts: in threads, in processes, or on the machines of an Apache Beam runner.

Every part is one shard of the packed set, a file of labels and a file of pictures. When both are complete, a note with
their sizes and checksums is written. After a crash, complete parts are kept. The packed bytes do not depend on how and
in how many attempts the set was packed.
"""

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jaxhar.data.records import index as packed_index
from jaxhar.data.records import record as records
from jaxhar.data.records import sequences, shards
from jaxhar.data.records.record import Folder, PackOptions, Record, Skipped
from jaxhar.data.records.sequences import Index
from jaxhar.host import files
from jaxhar.host.errors import Problem

_THREADS = min(8, os.cpu_count() or 1)
#: Number of parts of a large set, and of sequences per part of a small set.
_MOST_PARTS, _FEWEST_SEQUENCES = 256, 16
#: How often a part is begun whose worker process is killed.
_ATTEMPTS = 2
_SET = "set"
#: A record, or None for a broken sequence, and the files left out.
Loaded = tuple[Record | None, list[Skipped]]


@dataclass(frozen=True)
class Job:
    """Settings for packing parts; it can be sent to other processes.

    Attributes:
      work: folder for the incomplete set and the notes of its parts. parts: number of parts.
      stamp: checksum of their sequences. load, fields: of the `Folder`.
    """

    work: Path
    parts: int
    stamp: str
    skip_broken: bool
    load: Callable[[Any, bool], Loaded]
    fields: records.Fields

    def shard(self, number: int) -> tuple[Path, Path]:
        """The files of labels and of pictures."""
        place = self.work / _SET, number, self.parts
        return shards.shard(*place), shards.pictures_of(*place)

    def note(self, number: int) -> Path:
        """The file which shows that a part is complete, with its contents."""
        return self.work / "notes" / f"{number:05d}.json"

    def failure(self, number: int) -> Path:
        """The file with the error of a Beam machine that could not pack a part."""
        return self.work / "notes" / f"{number:05d}.txt"


def pack(folder: Folder, path: Path, work: Path, skip_broken: bool, options: PackOptions) -> None:
    """Pack a folder, with its index, into `path`; complete parts in `work` are used.

    Raises:
      Problem: a damaged file (named) without `skip_broken`, nothing usable in the folder. Complete parts are kept.
    """
    items, left_out = folder.scan(skip_broken)
    if not items:
        raise _nothing(folder, len(left_out))
    job, ranges = _job(folder, work, skip_broken, items, left_out)
    for place in (*job.shard(0), job.note(0)):
        place.parent.mkdir(parents=True, exist_ok=True)
        for stale in place.parent.glob(".*.tmp"):
            stale.unlink()
    try:
        with tqdm(total=len(items), desc=f"packing {folder.title}", unit="sequence") as bar:
            _make(job, {number: [items[i] for i in within] for number, within in enumerate(ranges)}, options, bar)
        _finish(job, folder, left_out)
        os.replace(work / _SET, path)
        shutil.rmtree(work)
    finally:
        if not any(job.note(0).parent.glob("*.json")):
            shutil.rmtree(work, ignore_errors=True)


def _nothing(folder: Folder, skipped: int) -> Problem:
    return Problem(f"{folder.root} holds no usable sequence; {skipped} unusable files were left out")


def _make(job: Job, parts: dict[int, list], options: PackOptions, bar: tqdm) -> None:
    """Pack the parts that are not complete, given the sequences of all parts."""
    missing: dict[int, list] = {}
    for number, items in parts.items():
        if _finished(job, number):
            bar.update(len(items))
        else:
            missing[number] = items
    if options.beam is not None and missing:
        _on_beam(job, {number: len(items) for number, items in missing.items()}, options, bar)
    elif options.workers and missing:
        _in_processes(job, missing, options.workers, bar)
    else:
        for number, items in missing.items():
            write_part(job, number, items, _THREADS, bar.update)


def _job(
    folder: Folder, work: Path, skip_broken: bool, items: list, left_out: list[Skipped]
) -> tuple[Job, list[range]]:
    size = max(_FEWEST_SEQUENCES, -(-len(items) // _MOST_PARTS))
    ranges = [range(i, min(i + size, len(items))) for i in range(0, len(items), size)]
    what = json.dumps([len(items), size, sorted(s.path for s in left_out if not s.expected)])
    stamp = hashlib.sha256(what.encode()).hexdigest()[:16]
    fields = dict(folder.fields)
    load = functools.partial(records.load, folder.load, folder.root, fields)
    return Job(work, len(ranges), stamp, skip_broken, load, fields), ranges


def write_part(
    job: Job, number: int, items: list, threads: int = 1, progress: Callable[[], object] = lambda: None
) -> None:
    """Pack one part: write its shard, then its note. Other processes may pack the same part at the same time."""
    entries: list[records.IndexEntry] = []
    skipped: list[list[str]] = []

    def load(item: object) -> Loaded:
        return job.load(item, job.skip_broken)

    def read() -> Iterator[Record]:
        with contextlib.closing(load_in_threads(load, items, threads)) as found:
            for record, without in found:
                progress()
                skipped.extend([s.path, s.reason] for s in without if not s.expected)
                if record is None:
                    continue
                entries.append(records.entry(record))
                yield record

    labels, pictures = job.shard(number)
    with files.atomic(labels) as new_labels, files.atomic(pictures) as new_pictures:
        shards.write_shard(new_labels, new_pictures, job.fields, read())
        for new in (new_labels, new_pictures):
            with open(new, "rb") as file:
                os.fsync(file.fileno())
    note = {
        "stamp": job.stamp,
        "skip_broken": job.skip_broken,
        "checksums": [*map(packed_index.checksum, job.shard(number))],
        "sequences": entries,
        "skipped": skipped,
    }
    files.write(job.note(number), json.dumps(note).encode())


def load_in_threads(load: Callable[[Any], Loaded], items: Iterable, threads: int) -> Generator[Loaded, None, None]:
    """Yield `load(item)` for every item in order, computed in threads a few items ahead."""
    waiting: deque[Future] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(load, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(job: Job, number: int) -> bool:
    """Whether a part is complete, has these sequences, and is packed with this `skip_broken` or has no broken files."""
    try:
        note = json.loads(job.note(number).read_text())
        same = note["stamp"] == job.stamp and (note["skip_broken"] == job.skip_broken or not note["skipped"])
        return same and note["checksums"] == [*map(packed_index.checksum, job.shard(number))]
    except (OSError, ValueError, KeyError):
        return False


def _finish(job: Job, folder: Folder, left_out: list[Skipped]) -> None:
    skipped = [[s.path, s.reason] for s in left_out if not s.expected]
    known: dict[Path, str] = {}
    lengths: list[int] = []

    def entries() -> Iterator[list[records.IndexEntry]]:
        """The entries of each part; its files and what it left out are noted on the way."""
        for number in range(job.parts):
            note = json.loads(job.note(number).read_text())
            known.update(zip(job.shard(number), note["checksums"], strict=True))
            skipped.extend(note["skipped"])
            lengths.append(len(note["sequences"]))
            yield note["sequences"]

    found = sequences.of(entries())
    if not found:
        raise _nothing(folder, len(skipped))
    for paths in zip(*map(job.shard, range(job.parts)), strict=True):
        for path in set(paths[0].parent.iterdir()) - set(paths):  # of an earlier division into parts
            path.unlink()
    shards.describe(job.work / _SET, job.fields, lengths)
    index: Index = {"actions": list(folder.actions), "sequences": found, "skipped": skipped}
    packed_index.write(job.work / _SET, index, known)


def _in_processes(job: Job, parts: dict[int, list], workers: int, bar: tqdm) -> None:
    """Pack parts in worker processes; one that is killed costs its part, which is then packed once more."""
    # spawned, because a fork would copy locks that JAX's threads hold
    context = multiprocessing.get_context("spawn")
    waiting, killed, stop = deque(parts), Counter[int](), threading.Event()

    def work() -> None:
        """Packs parts until none is left, by a pool of one: if a worker is killed, its whole pool ends."""
        with contextlib.ExitStack() as stack:
            worker = None
            while not stop.is_set():
                try:
                    number = waiting.popleft()
                except IndexError:
                    return
                worker = worker or stack.enter_context(ProcessPoolExecutor(1, context, initializer=_begin_worker))
                try:
                    worker.submit(write_part, job, number, parts[number]).result()
                except BrokenProcessPool:
                    worker = None
                    killed[number] += 1
                    if killed[number] < _ATTEMPTS:
                        waiting.append(number)
                else:
                    bar.update(len(parts[number]))

    with ThreadPoolExecutor(min(workers, len(parts))) as pool:
        try:
            for future in as_completed([pool.submit(work) for _ in range(min(workers, len(parts)))]):
                future.result()
        finally:
            stop.set()
    lost = sorted(number for number, times in killed.items() if times == _ATTEMPTS)
    if lost:
        raise Problem(
            f"a packing process was killed {_ATTEMPTS} times at the same sequences (part {lost[0] + 1} of {job.parts}),"
            " perhaps because memory was full; start again with fewer --workers, complete parts are kept"
        )


def _begin_worker() -> None:
    """Make this process end together with its parent, also if the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_beam(job: Job, missing: dict[int, int], options: PackOptions, bar: tqdm) -> None:
    """Pack parts on the machines of a runner; each machine scans the folder itself, and only numbers are sent."""
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise Problem(
            f"Apache Beam cannot be imported ({error}); install it with pip install 'jaxhar[beam]', or leave out --beam"
        ) from error
    assert options.beam is not None and options.open is not None
    for number in missing:
        job.failure(number).unlink(missing_ok=True)
    attempt = functools.partial(_attempt, options.open, job.work, job.stamp, job.skip_broken)
    stop = threading.Event()
    watch = threading.Thread(target=_watch, args=(job, dict(missing), bar, stop))
    watch.start()
    try:
        with beam.Pipeline(options=PipelineOptions(shlex.split(options.beam))) as pipeline:
            numbers = pipeline | "parts" >> beam.Create(sorted(missing)) | beam.Reshuffle()
            _ = numbers | "pack" >> beam.Map(attempt)
    except Exception as error:  # runners raise many types
        reason = " ".join(str(error).split())[:300]
        raise Problem(f"the Beam pipeline {options.beam!r} failed: {type(error).__name__}: {reason}") from error
    finally:
        stop.set()
        watch.join()
    for number in missing:
        if job.failure(number).exists():
            raise Problem(job.failure(number).read_text())
    lost = [number for number in missing if not _finished(job, number)]
    if lost:
        raise Problem(
            f"the Beam pipeline ended, but {len(lost)} of its {len(missing)} parts are not in {job.work}; the folder "
            "and the cache must be on a disk that all machines have under the same path"
        )


def _watch(job: Job, missing: dict[int, int], bar: tqdm, stop: threading.Event) -> None:
    """Update the progress bar as parts appear."""
    begun = {number: _age(job.note(number)) for number in missing}
    while missing:
        last = stop.wait(1)
        for number in [n for n in missing if _age(job.note(n)) != begun[n]]:
            bar.update(missing.pop(number))
        if last:
            return


def _age(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


#: Folders that this Beam machine has opened.
_opened: dict[tuple[Path, str], tuple[list, Job, list[range]]] = {}


def _attempt(open_folder: Callable[[], Folder], work: Path, stamp: str, skip_broken: bool, number: int) -> None:
    """Pack a part on a Beam machine. An error is written to disk, because a runner would retry and wrap it."""
    if (work, stamp) not in _opened:
        folder = open_folder()
        items, left_out = folder.scan(skip_broken)
        _opened[work, stamp] = items, *_job(folder, work, skip_broken, items, left_out)
    items, job, ranges = _opened[work, stamp]
    try:
        if job.stamp != stamp:
            raise Problem(f"a Beam machine has other files in the folder than the machine that began to pack {work}")
        write_part(job, number, [items[i] for i in ranges[number]])
    except Problem as problem:
        files.write(job.failure(number), str(problem).encode())
