"""Figures of the action scorer beside those in evaluate_test.py."""

import numpy as np

from jaxhar.core.prepared import View
from jaxhar.evaluation.action import Action, ActionFigure
from jaxhar.evaluation.scorer import Context


def test_top_5_beside_more_than_five_classes():
    """Against a count in NumPy; of equal scores the first classes are taken, as for the accuracy."""
    rng = np.random.default_rng(0)
    classes, labels = tuple("abcdefgh"), rng.integers(0, 8, 40)
    logits = rng.integers(0, 4, (40, 8)).astype(np.float32)  # many are equal
    sums = Action().begin(Context(View("single", "each"), classes=classes))
    for label, one in zip(labels, logits, strict=True):
        sums.add({"action": label}, {"action": one[None]})
    (section,) = sums.sections()
    places = np.array(
        [sum((s, -i) > (one[c], -c) for i, s in enumerate(one)) for c, one in zip(labels, logits, strict=True)]
    )
    assert section.scalars["accuracy/single/top5"] == np.mean(places < 5)
    assert section.scalars["accuracy/single"] == np.mean(places < 1)
    assert ActionFigure.from_json(section.json).top5 == section.scalars["accuracy/single/top5"]
    assert section.tiles[1].name == "Top-5 accuracy, single clip"
    few = Action().begin(Context(View("single", "each"), classes=classes[:5]))
    few.add({"action": 1}, {"action": logits[:1, :5]})
    assert "accuracy/single/top5" not in few.sections()[0].scalars
