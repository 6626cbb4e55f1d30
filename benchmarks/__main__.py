"""Run with `python -m benchmarks [WORDS]`: rounds in turns, medians with their spread, ratios to the first of a row.

Rows whose name holds every one of the words are run; `--list` shows the names. After each row benchmarks/results.json
is written anew, with the rows measured before. A row takes seconds to minutes; close other programs.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def select(rows: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """The rows whose names hold all words."""
    return {name: row for name, row in rows.items() if all(word in name for word in words)}


def main(argv: list[str]) -> None:
    from benchmarks import costs, data, gpu, keras, layers, networks, results, video
    from benchmarks.common import Measured, take_turns

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help='of the names of rows; "gpu" alone is the run on a GPU')
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--keras", type=Path, metavar="FOLDER", help="the authors' code, to compare with their model")
    parser.add_argument("--tiny", action="store_true", help="gpu: narrow networks, on any device")
    parser.add_argument("--seconds", type=float, default=40.0, help="of rounds in a row (default: %(default)s)")
    args = parser.parse_intermixed_args(argv)

    if "gpu" in args.words:
        args.words.remove("gpu")
        complaint = gpu.unfit(args.tiny)
        if complaint:
            sys.exit(complaint)
        rows = gpu.rows(args.tiny)
    else:
        rows = layers.rows() | networks.rows() | keras.rows(args.keras) | costs.rows() | data.rows() | video.rows()
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
