"""`jaxhar data check` and `jaxhar data prepare`: look at a whole data set, pack it once."""

import argparse
import dataclasses
import io
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from jaxhar.errors import Usage

if TYPE_CHECKING:
    from jaxhar.data.records import Record, Skipped
    from jaxhar.data.sequences import DataSet
    from jaxhar.skeleton import Skeleton

#: Names of `jaxhar.data.sets`, for the help text; that module is too slow to import for it.
NAMES = ("penn", "mpii", "h36m", "ntu", "ntu120", "folder")
_THREADS = 4
_LISTED = 50


@dataclasses.dataclass
class Findings:
    """What is in a data set.

    Attributes:
      counts: numbers by name, the sequences of each split among them. published: the known ones of the same names.
      labelled: joints with a label. outside: those of them outside of their frame. far: sequences with such joints and
        how many, the most first.
      bad: what was left out. pictures: middle frames with box and joints drawn, evenly from the set.
    """

    counts: dict[str, int]
    published: dict[str, int]
    labelled: int = 0
    outside: int = 0
    far: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    bad: "list[Skipped]" = dataclasses.field(default_factory=list)
    pictures: list[np.ndarray] = dataclasses.field(default_factory=list)


def look(settings: "DataSet", root: Path, layout: "Skeleton", pictures: int = 24, progress: bool = True) -> Findings:
    """Read every file of a data set once; nothing is trained or kept.

    Args:
      layout: joints of the records. pictures: how many to draw.

    Raises:
      Problem: the folder as a whole cannot be read.
    """
    from jaxhar.data import packing, records

    folder = settings.open(root)
    items, bad = folder.scan(True)
    found = Findings({}, dict(folder.published), bad=list(bad))
    chosen = set(np.linspace(0, len(items) - 1, min(pictures, len(items))).round().astype(int).tolist())
    splits: Counter[str] = Counter()
    frames = 0
    names: set[str] = set()
    far = []
    load = partial(records.load, folder.load, folder.root, skip_broken=True)
    read = packing.loaded(load, items, _THREADS)
    bar = tqdm(read, total=len(items), desc=f"reading {folder.title}", disable=not progress)
    for i, (record, skipped) in enumerate(bar):
        found.bad += skipped
        if record is None:
            continue
        entry = {k: getattr(record, k) for k in ("name", "split", "action", "subject", "view")}
        splits[settings.split_of({**entry, "frames": len(record.frames)})] += 1  # type: ignore[typeddict-item]
        frames += len(record.frames)
        found.labelled += int(record.labelled.sum())
        xy = record.points[..., :2]
        outside = int((record.labelled & ((xy < 0) | (xy > np.array(record.size))).any(-1)).sum())
        found.outside += outside
        if outside:
            far.append((record.name, outside))
        if record.name in names:
            found.bad.append(records.Skipped(record.name, "two sequences have this name"))
        names.add(record.name)
        if i in chosen:
            found.pictures.append(_picture(record, layout))
    found.far = sorted(far, key=lambda pair: -pair[1])
    found.counts = {"sequences": sum(splits.values()), **dict(sorted(splits.items())), "frames": frames}
    found.counts |= folder.counts
    return found


def _picture(record: "Record", layout: "Skeleton", side: int = 240) -> np.ndarray:
    """(H, W, 3) the middle frame with its joints and its name."""
    import cv2
    from PIL import Image, ImageDraw, ImageFont

    from jaxhar import viz
    from jaxhar.data.records import decode

    middle = len(record.frames) // 2
    image = decode(record.frames[middle], record.name)
    points = np.where(record.labelled[middle][:, None], record.points[middle, :, :2], np.nan)
    scale = side / max(image.shape[:2])
    shape = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    picture = Image.fromarray(viz.draw_skeleton(image, points * scale, layout))
    pen = ImageDraw.Draw(picture)
    pen.text((4, 3), record.name, (255, 255, 255), ImageFont.load_default(11), stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(picture)


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """The options of `jaxhar data check` and `jaxhar data prepare`."""
    parser.add_argument("name", choices=NAMES, help="which data set")
    parser.add_argument("--root", type=Path, required=True, help="its folder, or its annotation file")
    if command == "check":
        parser.add_argument("--sheet", type=Path, help="where to draw pictures (default: NAME_check.png)")
        parser.add_argument("--pictures", type=int, default=24, metavar="N", help="how many (default: %(default)s)")
    else:
        parser.add_argument("--cache", type=Path, required=True, help="folder for the packed records: data.cache")
        parser.add_argument("--skip-broken", action="store_true", help="leave out broken files, with a list")
        parser.add_argument(
            "--workers", type=int, default=0, metavar="N", help="processes that pack (default: threads of this one)"
        )
        parser.add_argument(
            "--beam", metavar="OPTIONS", help='pack by an Apache Beam pipeline, e.g. --beam="--runner=DirectRunner"'
        )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the data")


def _settings(args: argparse.Namespace, whole: bool = False, **fixed: Any) -> Any:
    from jaxhar.config import override
    from jaxhar.convert import setting
    from jaxhar.data import sets

    known = sets.get(args.name)
    changed = override(
        known.whole if whole and known.whole else known.settings, dict(setting(text) for text in args.set)
    )
    return dataclasses.replace(changed, root=str(args.root.expanduser()), **fixed), known.layout


def check(args: argparse.Namespace) -> int:
    """Run `jaxhar data check`; the exit code is 1 if anything is wrong."""
    from PIL import Image
    from rich.console import Console
    from rich.table import Table

    from jaxhar import files, viz

    settings, layout = _settings(args, whole=True)
    start = time.monotonic()
    found = look(settings, args.root.expanduser(), layout, args.pictures)
    console = Console()
    table = Table("", "found", "published", title=f"{settings.title}: {args.root}", title_justify="left")
    for name in dict.fromkeys((*found.counts, *found.published)):
        counted, known = found.counts.get(name, 0), found.published.get(name)
        table.add_row(name, f"{counted:,}", "" if known is None else f"{known:,}" + (" !" if known != counted else ""))
    table.add_row("labelled joints", f"{found.labelled:,}", "")
    table.add_row("joints outside of the frame", f"{found.outside:,}", "")
    console.print(table)
    for name, count in found.far[:5]:
        console.print(f"{count} joints outside of the frame: {name}", style="dim", highlight=False)
    if found.pictures:
        sheet = args.sheet or Path(f"{args.name}_check.png")
        buffer = io.BytesIO()
        Image.fromarray(viz.contact_sheet(found.pictures, columns=6)).save(buffer, "PNG")
        files.write(sheet, buffer.getvalue())
        print(f"pictures to look at: {sheet}")
    if any(found.counts.get(name) != known for name, known in found.published.items()):
        print("! differs from the published size of the whole set")
    print(f"{found.counts['sequences']} sequences read in {time.monotonic() - start:.0f} s")
    bad = [entry for entry in found.bad if not entry.expected]
    if len(bad) < len(found.bad):
        print(f"{len(found.bad) - len(bad)} are left out, as a list of the data set says")
    if not bad:
        print("nothing is wrong")
        return 0
    for entry in bad[:_LISTED]:
        print(f"  {entry.path}: {entry.reason}")
    if len(bad) > _LISTED:
        print(f"  and {len(bad) - _LISTED} more")
    print(f"{len(bad)} files or labels are unusable")
    return 1


def prepare(args: argparse.Namespace) -> None:
    """Run `jaxhar data prepare`; a second call finds the work done, after a killed one it goes on."""
    from jaxhar.data import records

    if args.workers < 0:
        raise Usage("--workers must be 0 or more")
    root = args.root.expanduser()
    settings, _ = _settings(args, cache=str(args.cache), skip_broken=args.skip_broken)
    means = records.Means(args.workers, args.beam, partial(settings.open, root))
    records.pack(settings.open(root), args.cache.expanduser(), args.skip_broken, means)
    prepared = settings.prepare(args.cache)
    entries = prepared.index["sequences"]
    splits = Counter(settings.split_of(entry) for entry in entries)
    counts = ", ".join(f"{split} {count:,}" for split, count in splits.items())
    print(f"{len(entries):,} sequences ({counts}), {sum(e['frames'] for e in entries):,} frames: {prepared.folder}")
    print(f"train on them with --config.data.root={args.root} --config.data.cache={args.cache}")
