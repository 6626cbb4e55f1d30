"""The command `jaxhar data prepare`: pack a data set once, before training."""

import argparse
from collections import Counter
from functools import partial
from pathlib import Path

from jaxhar.data import sets
from jaxhar.data.records import index, store
from jaxhar.data.records.record import PackOptions
from jaxhar.host.errors import Usage
from jaxhar.host.settings import setting


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar data prepare`."""
    parser.add_argument("name", choices=list(sets.SETS), help="which data set")
    parser.add_argument("--root", type=Path, required=True, help="its folder, or its annotation file")
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder for the packed records, the setting data.cache"
    )
    parser.add_argument("--skip-broken", action="store_true", help="leave out broken files and list them")
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="number of packing processes (default: 0, pack in threads of this process)",
    )
    parser.add_argument(
        "--beam", metavar="OPTIONS", help='pack by an Apache Beam pipeline, e.g. --beam="--runner=DirectRunner"'
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of the data")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar data prepare`; nothing is packed twice, and after a crash a second call continues.

    All packed files are compared with their checksums.
    """
    if args.workers < 0:
        raise Usage("--workers must be 0 or more")
    root = args.root.expanduser()
    changes = dict(map(setting, args.set))
    fixed = {"cache": str(args.cache), "skip_broken": args.skip_broken}
    settings = sets.configured(args.name, args.root, changes, **fixed)
    options = PackOptions(args.workers, args.beam, partial(settings.open, root))
    index.verify(store.pack(settings.open(root), args.cache.expanduser(), args.skip_broken, options))
    prepared = settings.prepare(args.cache)
    entries = prepared.index["sequences"]
    splits = Counter(settings.split_of(entry) for entry in entries)
    counts = ", ".join(f"{split} {count:,}" for split, count in splits.items())
    print(f"{len(entries):,} sequences ({counts}), {sum(e['length'] for e in entries):,} frames: {prepared.folder}")
    print(f"train on them with --config.data.root={args.root} --config.data.cache={args.cache}")
