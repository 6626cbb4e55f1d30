"""The command `jaxhar export`: write a network as a file that runs without this package."""

import argparse
from pathlib import Path

from jaxhar.export import run
from jaxhar.host import compile_cache


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar export`."""
    parser.add_argument(
        "--weights", type=Path, required=True, help="a model folder, a training run or a .safetensors file"
    )
    parser.add_argument("--format", choices=["jax", "onnx"], required=True, help="jax: a jax.export file; onnx: ONNX")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar export` with the arguments of `add_arguments`; errors are raised as Problem or Usage."""
    compile_cache.enable()
    apart = run(args.weights, args.out, args.format)
    size = args.out.stat().st_size / 1e6
    print(f"{args.weights} -> {args.out}: {size:.1f} MB")
    print(
        "largest difference between the file and the network in JAX: "
        + ", ".join(f"{name} {d:.1e}" for name, d in apart.items())
    )
