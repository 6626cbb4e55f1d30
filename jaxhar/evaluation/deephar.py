"""The scorer that follows the rules of deephar's evaluation scripts (docs/quirks.md), for comparison.

It needs no view of its own: it scores the predictions of each view a second time.
"""

from dataclasses import dataclass, replace

from jaxhar.core.batch import Batch, Preds
from jaxhar.evaluation.action import Action, ActionSums
from jaxhar.evaluation.metrics import PoseMetric, State
from jaxhar.evaluation.metrics_3d import DEEPHAR_LENS, WorldMetric
from jaxhar.evaluation.pose import PoseSums, dump, poses
from jaxhar.evaluation.scorer import Context, Example, Predicted
from jaxhar.evaluation.sections import Section, number
from jaxhar.evaluation.world import WorldSums

NAME = "deephar"


@dataclass(frozen=True)
class Deephar:
    """Figures by deephar's rules, named "pck@0.2/deephar" and so on.

    Joints outside of the crop are not counted. Lens distortion is inverted by deephar's approximate formula. In
    "clips" views, sequences too short for a clip count as recognised.

    Attributes:
      pose, world: metrics in the image and in space.
    """

    pose: tuple[PoseMetric, ...] = ()
    world: tuple[WorldMetric, ...] = ()
    reads = ("pose", "action")

    def begin(self, context: Context) -> "DeepharSums":
        """Empty sums by these rules."""
        return DeepharSums(self, context)

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The labels as predictions."""
        return {**poses(batch), **Action().truth(batch, context)}


class DeepharSums:
    """Sums of poses, and in "clips" views of actions."""

    def __init__(self, rules: Deephar, context: Context):
        self._context = context
        alone = context.view.kind != "clips"
        world = tuple(replace(m, deephar=True, name=m.name) for m in rules.world) if alone else ()  # type: ignore[type-var]
        self._world = WorldSums(world, context, f"/{NAME}")
        self._pose = PoseSums(rules.pose if alone else (), context, True, f"/{NAME}")
        self._action = None if alone or context.too_short is None else ActionSums(context)

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        self._pose.add(example, preds)
        self._world.add(example, preds)
        if self._action is not None:
            self._action.add(example, preds)

    def sections(self) -> list[Section]:
        """See `Sums`."""
        return [section for section in (self._of_poses(), self._of_actions()) if section is not None]

    def _of_poses(self) -> Section | None:
        figures = (*self._pose.figures, *self._world.figures)
        if not figures:
            return None
        return Section(
            "By deephar's rules",
            scalars={key: value for figure in figures for key, value in figure.scalars().items()},
            units={key: figure.metric.unit for figure in figures for key in figure.scalars()},
            notes=(
                "deephar's rules: joints outside of the crop are not counted, and lens distortion is inverted by an "
                "approximate formula.",
            ),
            variant=NAME,
            json={"sums": {figure.key: figure.json() for figure in figures}},
            if_true={f.key: f.metric.if_true if f.metric.unit == "%" else (0.0, DEEPHAR_LENS) for f in figures},
        )

    def _of_actions(self) -> Section | None:
        figure = None if self._action is None else self._action.figure
        if figure is None or self._action is None or self._context.too_short is None:
            return None
        short = self._action.subset(self._context.too_short)
        total = State(figure.state.total - short.total + short.count, figure.state.count)
        key, rate = f"{figure.key}/{NAME}", float(total.compute()[-1])
        note = (
            f"{short.count[-1]} sequences are too short for a clip of “{figure.view}”; one clip from their middle is "
            f"scored instead ({short.total[-1]} right). deephar's script counts them as recognised, which gives "
            f"{number(rate)} %."
        )
        return Section(
            "By deephar's rules",
            scalars={key: rate},
            units={key: "%"},
            notes=(note,) if short.count[-1] else (),
            variant=NAME,
            json={"state": dump(total), "short": dump(short)},
            if_true={key: (1.0, 1.0)},
        )
