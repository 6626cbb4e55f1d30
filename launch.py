"""Train or evaluate an experiment.

    python launch.py --config=configs/penn.py
    python launch.py --config=configs/penn.py:paper --config.data.root=DIR --config.train.steps=10 --workdir=runs/mine
    python launch.py --config=configs/penn.py --mode=eval

Training goes on where the checkpoints in the working directory end, and is followed by an evaluation of the best one.
`--config.NAME=VALUE` changes any setting of the experiment.
"""

import sys
from pathlib import Path
from typing import Any

from absl import app, flags

from jaxhar import config
from jaxhar.errors import Problem, Usage, guard

flags.DEFINE_string("config", None, "experiment file, with an argument for it after a colon")
flags.DEFINE_string("workdir", None, "where checkpoints, metrics and the report go; runs/<name of the experiment>")
flags.DEFINE_enum("mode", "train", ["train", "eval"], "train and evaluate, or evaluate only")
flags.DEFINE_bool("debug", False, "show the traceback of an error")


def split_overrides(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Takes `--config.a.b=value` and `--config.a.b value` out of a command line: (the rest, {"a.b": "value"})."""
    rest, overrides = [], {}
    words = iter(argv)
    for word in words:
        if not word.startswith("--config."):
            rest.append(word)
            continue
        key, equals, value = word.removeprefix("--config.").partition("=")
        overrides[key] = value if equals else next(words, "--")
        if not equals and overrides[key].startswith("--"):
            raise Usage(f"--config.{key} has no value; write --config.{key}=VALUE")
    return rest, overrides


def launch(argv: list[str]) -> None:
    """Runs a command line; raises Problem."""
    argv, overrides = split_overrides(argv)
    try:
        extra = flags.FLAGS(argv)[1:]
    except flags.Error as error:
        raise Usage(" ".join(str(error).split())) from error
    if extra:
        raise Usage(f"{extra[0]!r} is not an option; there are --config, --config.NAME, --workdir, --mode and --debug")
    if not flags.FLAGS.config:
        raise Usage("which experiment? give --config=FILE, e.g. --config=configs/penn.py")
    experiment = config.override(config.load(flags.FLAGS.config), overrides)
    workdir = Path(flags.FLAGS.workdir or Path("runs") / experiment.name)
    if experiment.banner:
        print(experiment.banner, flush=True)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / ".writable").touch()
        (workdir / ".writable").unlink()
    except OSError as error:
        reason = f"{error.strerror}; give another --workdir"
        raise Problem(f"cannot write in the working directory {workdir}: {reason}") from error
    run(experiment, workdir, flags.FLAGS.mode)


def run(experiment: config.Experiment, workdir: Path, mode: str) -> None:
    """Prepares the data, trains unless `mode` is "eval", evaluates, writes the report."""
    import jax.numpy as jnp
    from flax import nnx

    from jaxhar import checkpoint, compiled, evaluate, process, report, train, zoo

    process.keep_freed_memory()
    compiled.keep()

    prepared = experiment.data.prepare(workdir)
    options: dict[str, Any] = {"metrics": experiment.metrics, "batch": experiment.eval_batch}
    if getattr(experiment.model, "num_actions", None):
        options["actions"] = tuple(prepared.actions)

    def figures(model: nnx.Module) -> dict[str, float]:
        # The first protocol only: the multi-clip one takes a hundred times as long.
        protocols = experiment.protocols[:1]
        return evaluate.run(model, prepared, protocols=protocols, progress=False, **options).scalars()

    if mode == "train":
        dtype = jnp.bfloat16 if experiment.train.mixed_precision else jnp.float32
        model = zoo.create(experiment.model, rngs=nnx.Rngs(experiment.train.seed), dtype=dtype)
        model = train.run(experiment, workdir, model, prepared, figures)
    if mode == "eval" or (experiment.train.best and experiment.steps):
        model, _ = checkpoint.load_model(workdir)
    results = evaluate.run(model, prepared, protocols=experiment.protocols, **options)
    results.save(workdir / "results.json")
    page = report.write(workdir, results, title=experiment.name, published=experiment.published)
    print(f"report: {page}\npictures: {workdir / 'pictures'}")
    for name, also in experiment.also.items():
        options["metrics"] = also.metrics
        results = evaluate.run(model, prepared.parts[name], protocols=also.protocols, **options)
        (workdir / name).mkdir(exist_ok=True)
        results.save(workdir / name / "results.json")
        page = report.write(workdir / name, results, title=f"{experiment.name} on {name}", published=also.published)
        print(f"report: {page}")


def main(argv: list[str]) -> int:
    """Runs a command line and returns its exit code; an error becomes one sentence."""
    return guard(lambda: launch(argv), debug="--debug" in argv)


if __name__ == "__main__":
    app.define_help_flags()
    sys.exit(main(sys.argv))
