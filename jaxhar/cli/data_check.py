"""The command `jaxhar data check`: read a whole data set, count its contents and list its errors."""

import argparse
import io
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from jaxhar.checks.data_set import read_all
from jaxhar.data import listing, sets
from jaxhar.host import files
from jaxhar.host.settings import setting
from jaxhar.viz import draw as viz

_LISTED = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar data check`."""
    parser.add_argument("name", choices=list(sets.SETS), help="which data set")
    parser.add_argument("--root", type=Path, required=True, help="its folder, or its annotation file")
    parser.add_argument("--sheet", type=Path, help="picture file with drawn samples (default: NAME_check.png)")
    parser.add_argument("--pictures", type=int, default=24, metavar="N", help="samples to draw (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the data")


def main(args: argparse.Namespace) -> int:
    """Run `jaxhar data check`; the exit code is 1 if anything is wrong."""
    settings = sets.configured(args.name, args.root, dict(map(setting, args.set)), complete=True)
    start = time.monotonic()
    found = read_all(settings, args.root.expanduser(), args.pictures)
    console = Console()
    table = Table("", "found", "published", title=f"{settings.title}: {args.root}", title_justify="left")
    for name in dict.fromkeys((*found.counts, *found.published)):
        counted, known = found.counts.get(name, 0), found.published.get(name)
        table.add_row(name, f"{counted:,}", "" if known is None else f"{known:,}" + (" !" if known != counted else ""))
    if settings.layout is not None:
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
    if found.classes:
        print(f"{len(found.classes)} classes: {', '.join(f'{name} {n:,}' for name, n in found.classes.items())}")
    for sentence in (*found.notes, *found.doubts):
        print(sentence)
    bad = [entry for entry in found.bad if not entry.expected]
    expected = [entry for entry in found.bad if entry.expected]
    for entries, words in ((expected, "are left out, as they should be"), (bad, "are left out")):
        if entries:
            print(f"{len(entries)} files or labels {words}:")
            _list(listing.told(entries, args.root.expanduser()))
    if bad or found.doubts:
        print(f"{len(bad)} files or labels are unusable" if bad else "see the doubts above")
        return 1
    print("nothing is wrong")
    return 0


def _list(lines: Sequence[str]) -> None:
    for line in lines[:_LISTED]:
        print(f"  {line}")
    if len(lines) > _LISTED:
        print(f"  and {len(lines) - _LISTED} more")
