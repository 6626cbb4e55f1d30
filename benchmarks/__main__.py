"""Run with `python -m benchmarks [WORDS]`: prints medians, quartiles, and ratios to the first contender of each row.

Rows whose name contains all of the words are run; `--list` shows the names. Each result is added to
benchmarks/results.json. A row takes seconds to minutes; close other programs.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def select(rows: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """The rows whose names contain all words."""
    return {name: row for name, row in rows.items() if all(word in name for word in words)}


def main(argv: list[str]) -> None:
    from benchmarks import (
        checkpoints,
        costs,
        data,
        gpu,
        keras,
        layers,
        networks,
        reading,
        results,
        skeletons,
        structures,
        video,
        vit,
    )
    from benchmarks.common import Measured, take_turns

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help='words in the names of rows; "gpu" first: the rows for a GPU')
    parser.add_argument("--list", action="store_true", help="list the names of rows and stop")
    parser.add_argument("--keras", type=Path, metavar="FOLDER", help="deephar's code, to compare with its Keras model")
    parser.add_argument("--tiny", action="store_true", help="gpu: use narrow networks, on any device")
    parser.add_argument("--seconds", type=float, default=40.0, help="time for each row (default: %(default)s)")
    args = parser.parse_intermixed_args(argv)

    if "gpu" in args.words:
        args.words.remove("gpu")
        complaint = gpu.missing_requirement(args.tiny)
        if complaint:
            sys.exit(complaint)
        rows = gpu.rows(args.tiny)
    else:
        rows = layers.rows() | networks.rows() | keras.rows(args.keras) | costs.rows() | data.rows() | video.rows()
        rows |= checkpoints.rows() | reading.rows() | structures.rows() | skeletons.rows() | vit.rows()
    chosen = select(rows, args.words)
    if args.list:
        print("\n".join(chosen))
        return
    table = Table("row", "contender", "median", "quartiles", "x ours")
    command = " ".join(["python -m benchmarks", *argv])
    for number, (name, build) in enumerate(chosen.items(), 1):
        print(f"{number}/{len(chosen)} {name}", flush=True)
        made = build()
        measured = made if isinstance(made, Measured) else take_turns(made, args.seconds)
        results.add(name, measured, command)
        for line in results.summary(measured):
            table.add_row(name, *line)
            print("    " + "  ".join(line), flush=True)
        table.add_section()
    Console(width=130).print(table)
    print(f"{results.machine()}\n{results.PATH}")


if __name__ == "__main__":
    main(sys.argv[1:])
