"""The command `jaxhar export`."""

import argparse
from pathlib import Path

from jaxhar.export import run
from jaxhar.host import compile_cache as compiled


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar export`."""
    parser.add_argument("--weights", type=Path, required=True, help="a model folder, a workdir or a .safetensors file")
    parser.add_argument("--format", choices=["jax", "onnx"], required=True, help="jax.export or ONNX")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar export` with the arguments of `add_arguments`; Problem or Usage tell what is wrong."""
    compiled.enable()
    apart = run(args.weights, args.out, args.format)
    size = args.out.stat().st_size / 1e6
    print(f"{args.weights} -> {args.out}: {size:.1f} MB")
    print("largest difference from the live network: " + ", ".join(f"{name} {d:.1e}" for name, d in apart.items()))
