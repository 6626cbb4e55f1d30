"""The command `jaxhar zoo`: what each network predicts, its size and cost, its published file and figures."""

import argparse
import math

from rich.console import Console
from rich.table import Table

from jaxhar import zoo
from jaxhar.core.family import Entry
from jaxhar.core.network import NetworkConfig, clip_length, frame_size
from jaxhar.weights.flat import shapes
from jaxhar.zoo import multiply_adds

#: Common start of the addresses of weight files; the table leaves it out.
RELEASES = "https://github.com/dluvizon/deephar/releases/download/"
#: Width of the tables in characters.
WIDTH = 120


def counted(config: NetworkConfig) -> tuple[int, int]:
    """Weights, running statistics included, and multiply-adds of the network of these settings."""
    return sum(math.prod(shape) for shape in shapes(config).values()), multiply_adds(config)


def predicts(entry: Entry) -> tuple[str, str, str]:
    """Joints, action classes and frames per clip of a network as text; "" where it has none."""
    config = entry.config
    joints = "{} in {}-D".format(*config.pose_shape) if config.pose_shape else ""
    length = clip_length(config) if "frames" in config.reads else 1
    return joints, " + ".join(f"{n}" for n in config.classes), f"{length if length > 1 else ''}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar zoo`."""
    parser.add_argument("name", nargs="?", help="show everything about this network")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar zoo` with the arguments of `add_arguments`; Usage if there is no such network."""
    terminal = Console(highlight=False)
    # On a narrower console rich would cut names and numbers; a pipe or a file has no width.
    console = terminal if terminal.width >= WIDTH else Console(highlight=False, width=WIDTH)
    if args.name:
        console.print(_page(args.name, zoo.entry(args.name)))
        return
    for table in _tables({name: zoo.entry(name) for name in zoo.names()}):
        console.print(table)
    console.print("`jaxhar zoo NAME` shows everything about one network, `jaxhar weights NAME` fetches its weights.")


def _tables(entries: dict[str, Entry]):
    """Two tables: the networks, and the files of those that have one."""
    networks = Table("network", "joints", "actions", "frames", "parameters", "mult-adds", "published")
    files = Table("network", "published file", "md5")
    for name, entry in entries.items():
        weights, cost = entry.size or counted(entry.config)
        size = f"{weights / 1e6:.1f} M", f"{cost / 1e9:.1f} G"
        networks.add_row(name, *predicts(entry), *size, entry.published)
        if entry.release:
            files.add_row(name, entry.release.removeprefix(RELEASES), entry.md5 or "none given")
    files.columns[1].overflow = "fold"
    networks.columns[0].no_wrap = files.columns[0].no_wrap = True
    return networks, files


def _page(name: str, entry: Entry):
    """Everything about one network."""
    weights, cost = entry.size or counted(entry.config)
    page = Table("", name)
    joints, actions, length = predicts(entry)
    reads = ", ".join(key for key in entry.config.reads if key != "frames")
    if "frames" in entry.config.reads:
        height, width = frame_size(entry.config)
        images = f"{f'clips of {length} images' if length else 'single images'} of {width} x {height}"
        reads = ", ".join(filter(None, (images, reads)))
    rows = {
        "input": reads,
        "predicts": ", ".join(entry.config.predicts),
        "joints": entry.skeleton and f"{joints or len(entry.skeleton)}: {', '.join(entry.skeleton.joints)}",
        "actions": actions and ": ".join(filter(None, (actions, ", ".join(entry.actions)))),
        "parameters": f"{weights:,}, running statistics included",
        "multiply-adds": f"{cost:,} for one {'clip' if length else 'image'}",
        "published": entry.published,
        "published file": entry.release or "none",
        "md5": entry.md5 or ("none given" if entry.release else ""),
        "variants": "; ".join(f"{word}: {address}" for word, address in entry.variants),
        "licence": entry.licence,
        "settings": ", ".join(f"{name}={value}" for name, value in vars(entry.config).items()),
    }
    for what, value in rows.items():
        if value:
            page.add_row(what, value)
    page.columns[1].overflow = "fold"
    return page
