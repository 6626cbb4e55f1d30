"""Evaluation of a network on a split: every example is scored exactly once, and padding never.

The batch size changes figures only by the rounding of the network's float32 arithmetic.

The views come from the data: the middle clip of each sequence, several crops of a picture, all clips of a sequence. The
figures come from scorers (`jaxhar.evaluation.scorer.Scorer`). The network runs once for each view. Only predictions
that a scorer reads are copied from the device, without a change of type.

Several processes (`jaxhar.host.cluster`) take batches alternately and exchange what they found, so that each scores the
examples of all, in the same order and with the same figures as one process.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from flax import nnx
from tqdm import tqdm

from jaxhar import inference
from jaxhar.core.batch import Batch, Preds, batch_size, checksum
from jaxhar.core.gaussian import Decoding
from jaxhar.core.network import FromMaps, NetworkConfig, Showing, inputs_of
from jaxhar.core.prepared import Prepared, View
from jaxhar.core.skeleton import Skeleton
from jaxhar.evaluation.results import Published, Results
from jaxhar.evaluation.scorer import Context, Example, Predicted, Scorer
from jaxhar.evaluation.sections import Section
from jaxhar.evaluation.views import Pairs, average_crops
from jaxhar.host import cluster
from jaxhar.host.errors import Problem, Usage

#: A network, or any function from a batch to predictions, actions as logits.
Predictor = nnx.Module | Callable[[Batch], Preds]


@dataclass(frozen=True)
class Eval:
    """One evaluation of an experiment.

    Attributes:
      views: names of views of the data. During training only the first one is evaluated.
      scorers: compute the figures.
      part: name of one set of a `jaxhar.data.mixed.Mixed`; "" for the data's default.
      split: name of a split of the data; None for its default, `Prepared.eval_split`.
      batch: examples per run of the network; it affects only speed and memory.
      published: figures of publications, or sentences, to print in the report.
    """

    views: tuple[str, ...] = ("single",)
    scorers: tuple[Scorer, ...] = ()
    part: str = ""
    split: str | None = None
    batch: int = 8
    published: tuple[str | Published, ...] = ()


def views_of(plan: Eval, prepared: Prepared) -> tuple[Prepared, str, list[View]]:
    """The data, split and views of an evaluation. Usage if the data has no such part or view."""
    if plan.part:
        if plan.part not in prepared.parts:
            raise Usage(f"the data has no part {plan.part!r} to evaluate; it has {', '.join(prepared.parts)}")
        prepared = prepared.parts[plan.part]
    split = plan.split or prepared.eval_split
    known = prepared.views(split)
    for name in plan.views:
        if name not in known:
            raise Usage(f"the data has no view {name!r}; it has {', '.join(known)}")
    if not plan.views:
        raise Usage("an evaluation without views gives no figures; name at least one")
    return prepared, split, [known[name] for name in plan.views]


def run(
    model: Predictor,
    prepared: Prepared,
    plan: Eval,
    *,
    classes: tuple = (),
    progress: bool = True,
    step: int | None = None,
) -> Results:
    """Evaluate a network.

    Args:
      model: a network, run in evaluation mode and not modified, or a function from batches to predictions.
      prepared: the data.
      classes: names of the network's classes, or a tuple of such tuples for several sets of labels; () if they are
        the data's. If the network has other classes than the data, actions are not scored and a note says so.
      progress: whether to show a progress bar.
      step: number of training steps behind the weights, for networks that change over them; None for all.

    Raises:
      Problem: nothing to evaluate, or the network and the data disagree on joints.
      Usage: the data has no such part or view.
    """
    prepared, split, views = views_of(plan, prepared)
    reads = tuple(dict.fromkeys(key for scorer in plan.scorers for key in scorer.reads))
    examples: dict[str, int] = {}
    found: list[list[list[Section]]] = []
    for view in views:
        context = context_of(prepared, split, views, view, model, classes)
        pairs = predictions(model, prepared, split, view, reads, plan.batch, progress, step)
        examples[view.name], sections = score(plan.scorers, context, pairs)
        found.append(sections)
        if not examples[view.name]:
            raise Problem(f"the {split} split has nothing to evaluate in the {view.name} view; check the data set")
    by_scorer = (sections for of_scorer in zip(*found, strict=True) for sections in of_scorer)
    together = tuple(section for sections in by_scorer for section in sections)
    return Results(split, examples, together, tuple(prepared.notes), plan.published)


def check(plan: Eval, prepared: Prepared, best: str = "") -> None:
    """Scores the labels of one batch as if they were predictions, to find mistakes before a long training run.

    Args:
      best: name of a figure that the evaluation must compute, `Train.best`; not checked if a scorer cannot make
        predictions from labels.

    Raises:
      Problem: the data lacks what a metric needs; no figure `best`. Usage: no such part or view.
    """
    prepared, split, views = views_of(plan, prepared)
    context = context_of(prepared, split, views, views[0])
    batch = next(iter(prepared.eval_stream(split=split, view=views[0].name, batch=plan.batch)), None)
    if batch is None:
        raise Problem(f"the {split} split has nothing to evaluate in the {views[0].name} view; check the data set")
    truths = [scorer.truth(batch, context) for scorer in plan.scorers if scorer.begin(context) is not None]
    perfect = {key: value for truth in truths for key, value in truth.items()}
    _, found = score(plan.scorers, context, _examples(lambda _: perfect, [batch], tuple(perfect)))
    keys = {key for sections in found for section in sections for key in section.scalars}
    if best and all(truths) and best.removeprefix("-") not in keys:
        raise Problem(f"train.best is {best!r}, but the evaluation gives {', '.join(sorted(keys))}")


def context_of(
    prepared: Prepared,
    split: str,
    views: Sequence[View],
    view: View,
    model: Predictor | None = None,
    classes: tuple = (),
) -> Context:
    """The context of one view, for scorers; arguments as in `run`."""
    first = next((one for one in views if one.kind != "clips"), views[0])
    return Context(
        view=view,
        first=view == first,
        skeleton=prepared.skeleton,
        classes=tuple(prepared.actions),
        names=tuple(prepared.sequence_names(split)),
        too_short=frozenset(prepared.too_short(split)) if view.kind == "clips" else None,
        network=model.config if isinstance(model, nnx.Module) else None,  # type: ignore[attr-defined]
        network_classes=classes,
        shows=partial(inference.shows, model) if isinstance(model, nnx.Module) and isinstance(model, Showing) else None,
    )


def score(scorers: Sequence[Scorer], context: Context, pairs: Pairs) -> tuple[int, list[list[Section]]]:
    """Scores examples and their predictions; returns the number of examples and the sections of each scorer."""
    begun = [scorer.begin(context) for scorer in scorers]
    count = 0
    for example, preds in pairs:
        count += 1
        for sums in begun:
            if sums is not None:
                sums.add(example, preds)
    return count, [[] if sums is None or not count else sums.sections() for sums in begun]


def predictions(
    model: Predictor,
    prepared: Prepared,
    split: str,
    view: View,
    reads: tuple[str, ...],
    batch: int = 8,
    progress: bool = True,
    step: int | None = None,
) -> Pairs:
    """Runs a network on every example of a split, in order; arguments as in `run`.

    Args:
      reads: keys of the predictions to fetch. With several processes, "frames" too if the frames are needed.

    Yields:
      An example and its predictions (K, ...), both without the batch axis and without a change of type; action as
      logits. Predictions for several crops of one picture are averaged, see `average_crops`.
    """
    if cluster.count() == 1:
        stream = prepared.eval_stream(split=split, view=view.name, batch=batch)
        length = prepared.eval_length(split=split, view=view.name, batch=batch)
    else:
        stream = prepared.eval_stream(split, view.name, batch, cluster.index(), cluster.count())
        length = prepared.eval_length(view.name, split, batch, cluster.count())
    bar = tqdm(stream, total=length, desc=f"{split} {view.name}", unit="batch", disable=not progress)
    batches = bar if step is None else (Batch(**one, step=np.int32(step)) for one in bar)
    return of_batches(model, batches, view, prepared.skeleton, reads, exchange=True)


def of_batches(
    model: Predictor,
    batches: Iterable[Batch],
    view: View,
    skeleton: Skeleton | None,
    reads: tuple[str, ...],
    exchange: bool = False,
) -> Pairs:
    """`predictions` for given batches of a view; `skeleton` is that of the data.

    Args:
      exchange: the batches are those of this process; also yield those of the others.
    """
    if view.kind != "crops":
        return _examples(_predict(model), batches, reads, exchange)
    decoding = _decoding(model)
    reads = reads if decoding is None else tuple(dict.fromkeys((*reads, "maps")))
    return average_crops(_examples(_predict(model), batches, reads, exchange), skeleton, decoding, view.shift)


def _decoding(model: Predictor) -> Decoding | None:
    """How a network decodes its joints from its heat maps; None for a network without, and for a function."""
    config = model.config if isinstance(model, nnx.Module) else None  # type: ignore[attr-defined]
    return config.decoding if isinstance(config, FromMaps) else None


def _predict(model: Predictor) -> Callable[[Batch], Mapping[str, object]]:
    """A network as a function of batches. It is compiled once per network structure."""
    if not isinstance(model, nnx.Module):
        return model
    config: NetworkConfig = model.config  # type: ignore[attr-defined]
    forward = partial(inference.forward, *inference.prepare(model))

    def predict(batch: Batch) -> Mapping[str, object]:
        return forward(inputs_of(config, batch))

    return predict


def _examples(
    predict: Callable[[Batch], Mapping[str, object]],
    batches: Iterable[Batch],
    reads: tuple[str, ...],
    exchange: bool = False,
) -> Pairs:
    """Splits batches into pairs of one example and its predictions, without padding; `exchange` as of `of_batches`."""

    def unpack(batch: Batch, preds: Mapping[str, object]) -> Iterator[tuple[Example, Predicted]]:
        size = batch_size(batch)
        read = jax.tree.map(np.asarray, {key: preds[key] for key in reads if key in preds})
        _check(read, size)
        found = [({key: value for key, value in batch.items() if key != "step"}, read)]
        if exchange and cluster.count() > 1:
            values = {key: value for key, value in found[0][0].items() if key != "frames" or key in reads}
            found = cluster.gather((jax.tree.map(np.asarray, values), read))
            _check_apart([values for values, _ in found])
        for values, read in found:
            for i in np.flatnonzero(values.get("mask", np.ones(size, bool))):  # type: ignore[arg-type]
                example = jax.tree.map(lambda value, i=i: np.asarray(value)[i], values)
                yield example, jax.tree.map(lambda value, i=i: value[:, i], read)

    waiting = None
    for batch in batches:
        # The device computes this batch while the host scores the previous one.
        preds = predict(batch)
        if waiting:
            yield from unpack(*waiting)
        waiting = batch, preds
    if waiting:
        yield from unpack(*waiting)


def _check_apart(batches: Sequence[Mapping[str, object]]) -> None:
    """Problem if all processes have the same examples, by their numbers in the split."""
    mask = np.asarray(batches[0].get("mask", True))
    if "sequence" in batches[0] and mask.any() and len({checksum(batch) for batch in batches}) == 1:
        raise Problem(
            f"all {len(batches)} processes evaluate the same examples: eval_stream of the data takes process_index and "
            "process_count, but gives every process all batches; see Prepared in jaxhar/core/prepared.py"
        )


def _check(preds: dict[str, object], size: int) -> None:
    try:
        inference.checked(preds, size)
    except ValueError as error:
        raise Problem(str(error)) from error
