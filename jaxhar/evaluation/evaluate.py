"""Exact evaluation: every example of a split once, padding never, the same figures whatever the batch size.

What is left of the batch size is the rounding of the network's own float32 arithmetic, far below the digits shown.

The views come from the data: one centred clip per sequence, several crops of a picture, all clips of a sequence. The
figures come from scorers, objects of the form `jaxhar.evaluation.scorer.Scorer`. The network runs once for each view,
and only predictions that a scorer reads leave the device, in their own type.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from flax import nnx
from tqdm import tqdm

from jaxhar import inference
from jaxhar.core.batch import Batch, Preds, batch_size
from jaxhar.core.network import NetworkConfig
from jaxhar.core.prepared import Prepared, View
from jaxhar.evaluation.results import Published, Results
from jaxhar.evaluation.scorer import Context, Example, Predicted, Scorer
from jaxhar.evaluation.sections import Section
from jaxhar.evaluation.views import Pairs, average_crops
from jaxhar.host.errors import Problem, Usage

#: A network, or any function from a batch to predictions, actions as logits.
Predictor = nnx.Module | Callable[[Batch], Preds]


@dataclass(frozen=True)
class Eval:
    """One evaluation of an experiment.

    Attributes:
      views: names of views of the data; the first is also taken during training.
      scorers: of the kinds of figures.
      part: name of a set of a `jaxhar.data.mixed.Mixed`; "" for the data as it is.
      split: a name that the data knows; None for the one that it evaluates.
      batch: examples at a time, a matter of speed and memory only.
      published: the figures to compare with, printed in the report; a sentence stands by itself.
    """

    views: tuple[str, ...] = ("single",)
    scorers: tuple[Scorer, ...] = ()
    part: str = ""
    split: str | None = None
    batch: int = 8
    published: tuple[str | Published, ...] = ()


def views_of(plan: Eval, prepared: Prepared) -> tuple[Prepared, str, list[View]]:
    """The data, split and views that an evaluation is of. Usage if the data has no such part or view."""
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
) -> Results:
    """Evaluate a network.

    Args:
      model: a network, called in evaluation mode and itself left as it is, or a function of whole batches.
      prepared: the data.
      classes: names of the network's classes, a tuple of such tuples with several sets of labels; () if it knows those
        of the data. Actions of a network of other classes are not scored, which a note says.
      progress: whether to show a bar.

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
        pairs = predictions(model, prepared, split, view, reads, plan.batch, progress)
        examples[view.name], sections = score(plan.scorers, context, pairs)
        found.append(sections)
        if not examples[view.name]:
            raise Problem(f"the {split} split has nothing to evaluate in the {view.name} view; check the data set")
    by_scorer = (sections for of_scorer in zip(*found, strict=True) for sections in of_scorer)
    together = tuple(section for sections in by_scorer for section in sections)
    return Results(split, examples, together, tuple(prepared.notes), plan.published)


def check(plan: Eval, prepared: Prepared, best: str = "") -> None:
    """Scores the labels of one batch as if they were predictions, to find mistakes before hours of training.

    Args:
      best: name of a figure that the evaluation must give, as `Train.best`; not checked where a scorer knows no perfect
        predictions.

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
    """What scorers are told of one of the views; arguments as `run`."""
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
    )


def score(scorers: Sequence[Scorer], context: Context, pairs: Pairs) -> tuple[int, list[list[Section]]]:
    """The number of examples, and the sections of each scorer, of examples and their predictions."""
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
) -> Pairs:
    """What a network predicts for every example of a split, in order; arguments as `run`.

    Args:
      reads: keys of the predictions to fetch.

    Yields:
      An example and its predictions (K, ...), both without the batch axis and in their own types, action as logits.
      Crops of one picture are averaged, see `average_crops`.
    """
    stream = prepared.eval_stream(split=split, view=view.name, batch=batch)
    length = prepared.eval_length(split=split, view=view.name, batch=batch)
    bar = tqdm(stream, total=length, desc=f"{split} {view.name}", unit="batch", disable=not progress)
    pairs = _examples(_predict(model), bar, reads)
    return average_crops(pairs, prepared.skeleton) if view.kind == "crops" else pairs


def _predict(model: Predictor) -> Callable[[Batch], Mapping[str, object]]:
    """A network as a function of batches. It is compiled once for a structure: evaluating again compiles nothing."""
    if not isinstance(model, nnx.Module):
        return model
    config: NetworkConfig = model.config  # type: ignore[attr-defined]
    forward = partial(inference.forward, *inference.prepare(model))

    def predict(batch: Batch) -> Mapping[str, object]:
        return forward({key: value for key, value in batch.items() if key in config.reads})

    return predict


def _examples(
    predict: Callable[[Batch], Mapping[str, object]], batches: Iterable[Batch], reads: tuple[str, ...]
) -> Pairs:
    """Pairs of one example and its predictions, without the batch axis; padding is left out."""

    def unpack(batch: Batch, preds: Mapping[str, object]) -> Iterator[tuple[Example, Predicted]]:
        size = batch_size(batch)
        read = jax.tree.map(np.asarray, {key: preds[key] for key in reads if key in preds})
        _check(read, size)
        values = {key: value for key, value in batch.items() if key != "step"}
        for i in np.flatnonzero(batch.get("mask", np.ones(size, bool))):
            example = jax.tree.map(lambda value, i=i: np.asarray(value)[i], values)
            yield example, jax.tree.map(lambda value, i=i: value[:, i], read)

    waiting = None
    for batch in batches:
        # The device works on this batch while the host scores the one before.
        preds = predict(batch)
        if waiting:
            yield from unpack(*waiting)
        waiting = batch, preds
    if waiting:
        yield from unpack(*waiting)


def _check(preds: dict[str, object], size: int) -> None:
    try:
        inference.checked(preds, size)
    except ValueError as error:
        raise Problem(str(error)) from error
