"""The command `jaxhar evaluate`: add the class scores of several evaluated runs, and see what the sum is worth."""

import argparse
import shlex
from pathlib import Path

from jaxhar.data.formats import score_pickle
from jaxhar.evaluation import fusion
from jaxhar.evaluation.fusion import Scores
from jaxhar.evaluation.results import Results
from jaxhar.host import files
from jaxhar.host.errors import Problem, Usage
from jaxhar.viz import report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `jaxhar evaluate`."""
    parser.add_argument(
        "--runs",
        type=Path,
        nargs="+",
        required=True,
        metavar="RUN",
        help="evaluated runs (folders with scores_VIEW.npz), such files, or score files of mmaction2 (.pkl)",
    )
    parser.add_argument(
        "--weights", type=float, nargs="+", metavar="W", help="factor on the scores of each run (default: 1 for each)"
    )
    parser.add_argument("--view", help="evaluation view of the runs (default: multi if all have it, else single)")
    parser.add_argument("--out", type=Path, help="folder for a report, results.json and the sum, scores_fused.npz")


def main(args: argparse.Namespace) -> None:
    """Run `jaxhar evaluate`: prints a table of the parts and the sum."""
    if len(args.runs) > 1 and len(set(args.runs)) < len(args.runs):
        raise Usage("--runs names a run twice; give it once, with a larger weight")
    view = args.view or _common_view(args.runs)
    names = [path.name if path.is_dir() else path.stem for path in args.runs]
    names = names if len(set(names)) == len(names) else [str(path) for path in args.runs]
    weights = args.weights or [1.0] * len(args.runs)
    parts = [_scores(path, view) for path in args.runs]
    total = fusion.fuse(parts, weights, names)
    results = Results("test", {}, (fusion.section(parts, total, weights, names),))
    if args.out is None:
        report.show(results)
        return
    files.make_folder(args.out)
    results.save(args.out / "results.json")
    print(f"report: {report.write(args.out, results, ' + '.join(names))}")


def _common_view(runs: list[Path]) -> str:
    folders = [path for path in runs if path.is_dir()]
    views = [{file.stem.removeprefix("scores_") for file in path.glob("scores_*.npz")} for path in folders]
    common = set.intersection(*views) if views else {""}
    if not common:
        for path, found in zip(folders, views, strict=True):
            if not found:
                raise Problem(
                    f"{path} holds no class scores; evaluate it with python launch.py --config=... --mode=eval "
                    f"--workdir={shlex.quote(str(path))}"
                )
        raise Problem(f"the runs have no view in common: {', '.join(' and '.join(sorted(found)) for found in views)}")
    return next((view for view in ("multi", "single") if view in common), min(common))


def _scores(path: Path, view: str) -> Scores:
    if path.is_dir():
        file = path / f"scores_{view}.npz"
        if not file.is_file():
            known = ", ".join(sorted(one.stem.removeprefix("scores_") for one in path.glob("scores_*.npz")))
            raise Problem(f"{path} has no scores of the view {view!r}; it has {known or 'none'}")
        return fusion.read(file)
    if path.suffix == ".npz":
        return fusion.read(path)
    if not path.exists():
        raise Problem(f"there is no run or score file {path}")
    scores, labels = score_pickle.read(path)
    return Scores((), (), labels, scores)
