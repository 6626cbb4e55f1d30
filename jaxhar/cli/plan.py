"""The command `jaxhar plan`: what training on many devices would need, from the program compiled for virtual ones."""

import argparse

from rich import box
from rich.console import Console
from rich.table import Table

from jaxhar.checks.plan import H100, Step, plan
from jaxhar.host.errors import Usage
from jaxhar.host.settings import setting

_COLUMNS = (
    "experiment",
    "devices",
    "global batch",
    "memory, GB: state",
    "batch",
    "rest",
    "all",
    "moved, GB: state",
    "products",
    "gradients",
    "floor, ms",
    "bound by",
    "input, GB/s",
    "examples/s",
    "compiled, s",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar plan`."""
    parser.add_argument("config", help="the experiment, e.g. configs/penn.py:paper; its data is not needed")
    parser.add_argument(
        "--devices", default="1,8", metavar="N,N", help="numbers of devices, one row each (default: %(default)s)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="or --config.NAME=VALUE: change the experiment"
    )


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar plan`: prints a table in Markdown."""
    words = args.devices.split(",")
    if not all(word.strip().isdecimal() and int(word) for word in words):
        raise Usage(f"--devices {args.devices!r} are not numbers of devices; give e.g. 1,8,64")
    steps = plan(args.config, dict(setting(text) for text in args.set), [int(word) for word in words])
    table = Table(*_COLUMNS, box=box.MARKDOWN)
    for step in steps:
        table.add_row(*_cells(step))
    Console(width=400, highlight=False).print(table)
    print(
        f"Memory and bytes moved are those of one device; the floor is that of {H100.name}s. Memory from a compilation "
        "for CPUs is an upper estimate."
    )


def _cells(step: Step) -> tuple[str, ...]:
    times = step.times(H100)
    bound, floor = max(times.items(), key=lambda item: item[1])
    sizes = (step.state, step.input, step.rest, step.memory, step.kept, step.moved, step.gradients)
    gigabytes = [f"{size / 1e9:.3g}" for size in sizes]
    gigabytes[3] += " (too much)" if step.memory > H100.memory else ""
    rates = (step.devices * step.input / floor / 1e9, step.examples / floor)
    return (
        step.name,
        str(step.devices),
        step.batch,
        *gigabytes,
        f"{1e3 * floor:.3g}",
        bound,
        *(f"{rate:.3g}" for rate in rates),
        f"{step.seconds:.0f}",
    )
