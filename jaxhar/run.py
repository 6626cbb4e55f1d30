"""Runs an experiment: data, training, evaluation, report."""

import inspect
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
from flax import nnx

from jaxhar import zoo
from jaxhar.core.prepared import Prepared
from jaxhar.evaluation import calibration, evaluate, familiar, fusion
from jaxhar.evaluation import comparison as comparing
from jaxhar.evaluation.results import Results
from jaxhar.host import cluster, compile_cache, files, process
from jaxhar.host.errors import Usage
from jaxhar.training import loop, stages
from jaxhar.training.experiment import Comparison, Experiment
from jaxhar.viz import report
from jaxhar.weights import checkpoint


def run(experiment: Experiment, workdir: Path, mode: str, data: Path | None = None) -> None:
    """Prepares the data, trains unless `mode` is "eval", evaluates, writes the report.

    Several processes (`jaxhar.host.cluster`) do it together: process 0 writes what is written once.

    Args:
      data: the working directory that the data is prepared for, if other runs share it; None for `workdir`.
    """
    if experiment.compare is not None:
        compare(experiment, experiment.compare, workdir, mode)
        return
    zoo.family(experiment.model)  # an unknown family must fail before the data is prepared
    process.keep_freed_memory()
    compile_cache.enable()

    with cluster.first_before_others():
        prepared = experiment.data.prepare(workdir if data is None else data)
    classes = tuple(prepared.actions) if experiment.model.classes else ()
    plans = tuple(experiment.evals.values())
    for number, plan in enumerate(plans):
        evaluate.check(plan, prepared, "" if number else experiment.train.best)

    def figures(model: nnx.Module, step: int) -> dict[str, float]:
        # Only the first view: evaluating all clips of a sequence takes much longer.
        plan = replace(plans[0], views=plans[0].views[:1])
        return evaluate.run(model, prepared, plan, classes=classes, progress=False, step=step).scalars()

    step = experiment.steps or None
    if mode == "train":
        check_classes(experiment, prepared)
        dtype = jnp.bfloat16 if experiment.train.mixed_precision else jnp.float32
        model = zoo.create(experiment.model, rngs=nnx.Rngs(experiment.train.seed), dtype=dtype)
        model = loop.run(experiment, workdir, model, prepared, figures if plans else None)
    if mode == "eval" or (experiment.train.best and experiment.steps):
        model, meta = checkpoint.load_model(workdir)
        step = meta.step
    if cluster.first() and mode == "train" and experiment.steps and checkpoint.load_model(workdir)[1].familiar is None:
        found = familiar.of_data(model, prepared)
        if found is not None:
            checkpoint.save_findings(workdir, found)
    if experiment.train.calibrate and plans and experiment.steps:
        temperatures, fits = calibration.of_data(model, prepared, plans[0], classes)
        if cluster.first():
            checkpoint.save_findings(workdir, calibration=temperatures)
        for what, fit in fits.items():
            print(fit.sentence(what))
    for number, (name, plan) in enumerate(experiment.evals.items()):
        out, title = (workdir / name, f"{experiment.name} on {name}") if number else (workdir, experiment.name)
        results = evaluate.run(model, prepared, plan, classes=classes, progress=cluster.first(), step=step)
        if not cluster.first():
            continue
        files.make_folder(out)
        results.save(out / "results.json")
        page = report.write(out, results, title)
        print(f"report: {page}" + ("" if number else f"\npictures: {out / 'pictures'}"))
    if experiment.then is not None and cluster.first():
        experiment.then(workdir)


def check_classes(experiment: Experiment, prepared: Prepared) -> None:
    """Usage if a network that is trained on actions has other numbers of classes than the data."""
    count = len(prepared.actions)
    for part in stages.parts(experiment):
        classes = part.stage.model.classes
        if experiment.steps and count and classes and count not in classes:
            raise Usage(
                f"the network of {experiment.name} has {' + '.join(map(str, classes))} action classes, but the data "
                f"has {count}: give the network as many (model.num_actions), or data with all classes"
            )


def compare(experiment: Experiment, comparison: Comparison, workdir: Path, mode: str) -> None:
    """Runs every variant with every seed, in folders of its own, and writes a report on their differences.

    Variants that were trained before are only evaluated.
    """
    if not experiment.evals:
        raise Usage("a comparison needs an evaluation: give the experiment evals")
    found: dict[str, list[fusion.Scores]] = {name: [] for name in comparison.arms}
    for number in range(comparison.seeds):
        train = replace(experiment.train, seed=experiment.train.seed + number)
        for name, change in comparison.arms.items():
            arm = change(replace(experiment, compare=None, train=train))
            if cluster.first():
                print(f"variant {name!r}, seed {train.seed}", flush=True)
            folder = workdir / f"{name}-{train.seed}"
            run(replace(arm, name=f"{arm.name}-{name}-{train.seed}"), folder, mode, data=workdir)
            if cluster.first():
                found[name].append(fusion.read(folder / f"scores_{comparison.view}.npz"))
    if cluster.first():
        about = {name: text.split("\n")[0] for name, arm in comparison.arms.items() if (text := inspect.getdoc(arm))}
        results = Results("test", {comparison.view: len(found[name][0].labels)}, (comparing.section(found, about),))
        results.save(workdir / "results.json")
        print(f"report: {report.write(workdir, results, experiment.name)}")
