"""Five short videos in one call of `jaxhar predict` and in five: `python -m benchmarks.many [--weights RUN]`.

Each round runs both, one after the other, as processes. Compiled programs are in the cache, as after any first call.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.video import write
from configs.penn import demo
from jaxhar import zoo
from jaxhar.core import classes, skeleton
from jaxhar.weights import checkpoint

COUNT, FRAMES = 5, 50


def seconds(*words: object) -> float:
    """The wall time of a call."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "jaxhar.cli.main", "predict", *map(str, words), "--no-progress"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="a pose network (default: that of the Penn demo, random weights)")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = args.weights or folder / "net"
        if args.weights is None:
            checkpoint.save_model(weights, zoo.create(demo().model), skeleton.PA16, classes.PENN)
        films = [write(folder / f"{n}.mp4", FRAMES) for n in range(COUNT)]
        seconds(films[0], "--weights", weights, "--out", folder / "first")
        one, five = [], []
        for n in range(args.rounds):
            one.append(seconds(*films, "--weights", weights, "--out", folder / f"one{n}"))
            each = [seconds(film, "--weights", weights, "--out", folder / f"{film.stem}_{n}") for film in films]
            five.append(sum(each))
        ratio = np.divide(one, five)
        print(f"one call {np.median(one):.1f} s, five calls {np.median(five):.1f} s, ratio {np.median(ratio):.2f}")
        print(f"ratios {', '.join(f'{value:.2f}' for value in ratio)}")


if __name__ == "__main__":
    main()
