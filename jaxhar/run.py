"""One experiment from data to report."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxhar import zoo
from jaxhar.evaluation import evaluate
from jaxhar.host import compile_cache, process
from jaxhar.training import loop
from jaxhar.training.experiment import Experiment
from jaxhar.viz import report
from jaxhar.weights import checkpoint


def run(experiment: Experiment, workdir: Path, mode: str) -> None:
    """Prepares the data, trains unless `mode` is "eval", evaluates, writes the report."""
    process.refuse_several()
    zoo.family(experiment.model)  # settings of no known family: that is told before any data is made
    process.keep_freed_memory()
    compile_cache.keep()

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
        model = loop.run(experiment, workdir, model, prepared, figures)
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
