"""The scorer of poses in space that are computed from several views of one moment, in millimetres."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jaxhar.core.batch import Batch, Preds, to_image
from jaxhar.core.camera import Camera
from jaxhar.core.skeleton import H36M17, Skeleton, get
from jaxhar.core.structures import Structures, limb_lengths, solve, tree
from jaxhar.core.triangulate import Triangulated, ransac, reprojection, triangulate
from jaxhar.evaluation.metrics_3d import MPJPE, AbsoluteMPJPE, ProcrustesMPJPE, WorldMetric
from jaxhar.evaluation.pose import joints_of, poses, same_joints, section
from jaxhar.evaluation.scorer import Context, Example, Predicted, float64
from jaxhar.evaluation.sections import Section, Table, number
from jaxhar.evaluation.world import WorldSums
from jaxhar.host.errors import Problem

Method = Literal["triangulation", "ransac", "structures"]

#: Largest error in mm of pictorial structures on the heat maps of the true pose: the maps are narrow and not exact.
_TRUE_MAPS = 40.0
#: The same of triangulation with `Camera.original_lens` on exact positions, which were made by another lens.
_OTHER_LENS = 5.0

METRICS: tuple[WorldMetric, ...] = (AbsoluteMPJPE(name="MPJPE"), MPJPE(name="relative MPJPE"), ProcrustesMPJPE())


@dataclass(frozen=True)
class Space:
    """Scores poses in space, found from the joints in all views (T of a batch) by the cameras of the batch.

    Examples without `world` or `camera`, and those whose frames are not views of one moment (`together`), are left out.

    Attributes:
      method: "triangulation" by all views, or "ransac" by the views that agree to within `threshold`; a joint with no
        two such views is triangulated from all views instead, and counted as fallen back. "structures" by the heat
        maps, see `jaxhar.core.structures`; poses without a legal place fall back to triangulation.
      metrics: each adds figures such as "mpjpe" and "mpjpe/walking", see `PoseFigure.scalars`; with a method other than
        triangulation "mpjpe/ransac" and so on. The first of the default is the error in world coordinates without any
        alignment, the one of the multi-view papers. A network with two blocks, raw and fused, adds "mpjpe/raw".
      threshold: pixels of the original image.
      weighted: whether a view counts by the network's confidence (`visible`); else all views count the same.
      structures: settings of pictorial structures.
      skeleton: name of the layout whose joints form the tree, with a pelvis; other joints are triangulated. "": the 17
        joints of Human3.6M if the data has them, else the data's.
      limbs: lengths in mm of the limbs that end in each joint of that skeleton, 0 for the root: e.g. the mean
        of the training poses' `limb_lengths`. "own": those of the triangulated pose, mean of left and right. "true":
        those of the true pose, an advantage that no application has.
      center: of the first grid: the "triangulated" root or the "true" one, which no application has.
    """

    method: Method = "triangulation"
    metrics: tuple[WorldMetric, ...] = METRICS
    threshold: float = 15.0
    weighted: bool = True
    structures: Structures = Structures()
    skeleton: str = ""
    limbs: tuple[float, ...] | Literal["own", "true"] = "own"
    center: Literal["triangulated", "true"] = "triangulated"

    @property
    def reads(self) -> tuple[str, ...]:
        """Keys of the predictions that it needs."""
        return ("pose", "visible", "maps") if self.method == "structures" else ("pose", "visible")

    @property
    def oracle(self) -> bool:
        """Whether pictorial structures are given parts of the true pose."""
        return self.method == "structures" and "true" in (self.limbs, self.center)

    @property
    def suffix(self) -> str:
        """Last part of the names of figures: "", "/ransac", "/structures" or "/structures-oracle"."""
        return "" if self.method == "triangulation" else f"/{self.method}" + ("-oracle" if self.oracle else "")

    def body(self, skeleton: Skeleton) -> tuple[Skeleton, list[int]]:
        """The layout of the tree, and where its joints are in the data's skeleton; Problem if one is missing."""
        whole = set(H36M17.joints) <= set(skeleton.joints)
        layout = get(self.skeleton) if self.skeleton else H36M17 if whole else skeleton
        missing = [joint for joint in layout.joints if joint not in skeleton.joints]
        if missing:
            raise Problem(f"the data ({skeleton.name}) has no {', '.join(missing)}: set skeleton of the scorer Space")
        return layout, [skeleton.index(joint) for joint in layout.joints]

    def begin(self, context: Context) -> "SpaceSums | None":
        """Empty sums; None in "clips" views, which are for actions only."""
        return None if context.view.kind == "clips" else SpaceSums(self, context)

    def truth(self, batch: Batch, context: Context) -> Preds:
        """The labels as predictions, each labelled joint with confidence 1."""
        found = poses(batch)
        if "valid" in batch and "pose" in found:
            labelled = np.asarray(batch["valid"], np.float32).min(-1)
            found["visible"] = np.repeat(np.expand_dims(labelled, 0), 2, 0)
        if self.method == "structures" and "pose" in found:
            found["maps"] = _maps(found["pose"])
        return found


class SpaceSums:
    """Sums over groups of views."""

    def __init__(self, scorer: Space, context: Context):
        self._scorer, self._context = scorer, context
        self._suffix = scorer.suffix
        self._world = WorldSums(scorer.metrics, context, self._suffix)
        self._error: list[np.ndarray] = []  # (K, 4): sums of the reprojection error, joints found, missing, fallen back
        self._labelled = 0
        self._other_lens = False

    def add(self, example: Example, preds: Predicted) -> None:
        """See `Sums`."""
        if "pose" not in preds or not {"world", "camera", "affine"} <= example.keys():
            return
        if not bool(example.get("together", True)):
            return
        if len(example["camera"]) < 2:
            raise Problem("poses in space need two or more views of one moment; remove the scorer Space")
        same_joints(preds["pose"], joints_of(self._context))
        focal = np.asarray(example["camera"])[:, 12:14]
        self._other_lens |= bool((focal[:, 0] == focal[:, 1]).all())
        found, fell_back = self._points(example, preds)
        true = float64(example["world"])
        valid = example["valid"].all(-1).any(0) if "valid" in example else np.ones(len(true), bool)
        valid = valid & np.isfinite(true).all(-1)
        counted = valid & found.valid.all(0)
        world = {**example, "world": np.where(valid[:, None], true, 0), "valid": counted[None, :, None]}
        self._world.add(world, {"world": np.where(found.valid[..., None], found.points, 0)})
        ours = found.valid & valid
        rows = [np.where(ours, found.error, 0), ours, ~found.valid & valid, fell_back & valid]
        self._error.append(np.stack([row.sum(-1, dtype=np.float64) for row in rows], -1))
        self._labelled += int(valid.sum())

    def _points(self, example: Example, preds: Predicted) -> tuple[Triangulated, np.ndarray]:
        """Points (K, J, 3), and (K, J) bool: joints that fell back to triangulation."""
        cameras = [Camera.from_vector(vector) for vector in example["camera"]]
        pixels = np.moveaxis(to_image(example["affine"], float64(preds["pose"])), 1, 0)  # (V, K, J, 2)
        weight = np.ones(pixels.shape[:-1])
        if self._scorer.weighted and "visible" in preds:
            weight = np.moveaxis(float64(preds["visible"]), 1, 0)
        everyone = triangulate(cameras, pixels, weight)
        if self._scorer.method == "triangulation":
            return everyone, np.zeros(everyone.few.shape, bool)
        if self._scorer.method == "structures":
            return self._structures(example, preds, cameras, pixels, everyone)
        agreeing = ransac(cameras, pixels, weight, self._scorer.threshold)
        return _instead(agreeing, everyone), ~agreeing.valid & everyone.valid

    def _structures(
        self, example: Example, preds: Predicted, cameras: list[Camera], pixels: np.ndarray, start: Triangulated
    ) -> tuple[Triangulated, np.ndarray]:
        scorer = self._scorer
        if "maps" not in preds:
            raise Problem("pictorial structures need a network that predicts heat maps; this network does not")
        layout, index = scorer.body(joints_of(self._context))
        parents, blocks = tree(layout), len(preds["maps"])
        root, true = parents.index(-1), float64(example["world"])[index]
        if scorer.limbs == "true":
            limbs = limb_lengths(true, parents)
        elif scorer.limbs == "own":
            own = limb_lengths(start.points[:, index], parents)
            pairs = np.stack([own, own[:, layout.flip]])
            known = np.isfinite(pairs)
            limbs = np.where(known, pairs, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
        else:
            limbs = np.array(scorer.limbs, np.float64)
            if limbs.shape != (len(layout),):
                raise Problem(f"the scorer Space has {len(limbs)} limbs; skeleton {layout.name} needs {len(layout)}")
        found = solve(
            scorer.structures,
            parents,
            np.stack([np.stack([c.to_vector() for c in cameras])] * blocks),
            np.stack([np.asarray(example["affine"])] * blocks),
            np.asarray(preds["maps"])[..., index],
            start.points[:, index],
            limbs,
            np.stack([true[root]] * blocks) if scorer.center == "true" else None,
        )
        points, fell_back = start.points.copy(), np.zeros(start.few.shape, bool)
        points[:, index] = found.points
        fell_back[:, index] = found.fell_back[:, None]
        errors, _ = reprojection(cameras, pixels, points)
        lost = ~np.isfinite(points).all(-1)
        return replace(
            start, points=points, error=errors.mean(0), errors=errors, few=lost, behind=np.zeros_like(lost)
        ), fell_back

    def sections(self) -> list[Section]:
        """See `Sums`."""
        if not self._error:
            return []
        figures, suffix = self._world.figures, self._context.suffix + self._suffix
        given = ", true root or limbs given" if self._scorer.oracle else ""
        whole = section(f"Pose in space by {_TITLES[self._scorer.method]}{given}", figures, self._notes())
        error, found, missing, fell_back = np.sum(self._error, axis=0).T
        with np.errstate(invalid="ignore"):
            rows = {
                f"reprojection{suffix}": (error / found, "px"),
                f"missing{suffix}": (missing / self._labelled, "%"),
                f"fell back{suffix}": (fell_back / self._labelled, "%"),
            }
        if self._scorer.method == "triangulation":
            del rows[f"fell back{suffix}"]
        scalars = {name: float(values[-1]) for name, (values, _) in rows.items()}
        units = {name: unit for name, (_, unit) in rows.items()}
        if len(found) == 2:
            raw = {f"{figure.key}/raw": float(figure.state.pooled()[0]) for figure in figures}
            scalars, units = {**raw, **scalars}, {**dict.fromkeys(raw, "mm"), **units}
        blocks = [f"block {n + 1}" for n in range(len(found))]
        names = {"reprojection": "reprojection error, px", "missing": "joints without a point, %"}
        names["fell back"] = "joints that fell back to triangulation by all views, %"
        table = Table(
            f"How the views agree{self._suffix.replace('/', ', ')}",
            ("", *blocks),
            tuple(
                (names[name.split("/")[0]], *(number(float(v), unit) for v in values))
                for name, (values, unit) in rows.items()
            ),
        )
        bounds = {**whole.if_true}
        if self._scorer.method == "structures" or self._other_lens:
            bound = _TRUE_MAPS if self._scorer.method == "structures" else _OTHER_LENS
            bounds = dict.fromkeys(bounds, (0.0, bound))
        return [
            replace(
                whole,
                scalars={**whole.scalars, **scalars},
                units={**whole.units, **units},
                tables=(*whole.tables, table),
                if_true=bounds,
            )
        ]

    def _notes(self) -> tuple[str, ...]:
        notes = (
            "Joints of all views are combined by the cameras of the data; a joint without a point in any block is left "
            "out of the errors and counted as missing.",
        )
        if not self._scorer.oracle:
            return notes
        return (
            *notes,
            "Figures with “structures-oracle” use the true root or the true limb lengths, as the original does. They "
            "are better than an application can expect.",
        )


_TITLES = {"triangulation": "triangulation", "ransac": "RANSAC", "structures": "pictorial structures"}


def _maps(pose: np.ndarray, size: int = 64, sigma: float = 2.0) -> np.ndarray:
    """Heat maps (..., size, size, J) with Gaussians about poses (..., J, 2) in crop units, at sub-cell positions."""
    cells = np.asarray(pose[..., :2], np.float32) * size
    line = np.arange(size, dtype=np.float32)[:, None]
    x, y = (np.exp(-((line - cells[..., None, :, n]) ** 2) / (2 * sigma**2)) for n in (0, 1))
    return y[..., :, None, :] * x[..., None, :, :]


def _instead(first: Triangulated, other: Triangulated) -> Triangulated:
    """Each joint from `first` where it has a point, else from `other`."""
    ours = first.valid

    def choose(a: np.ndarray, b: np.ndarray, axes: int = 0) -> np.ndarray:
        return np.where(ours.reshape(*ours.shape, *[1] * axes), a, b)

    return Triangulated(
        choose(first.points, other.points, 1),
        choose(first.error, other.error),
        choose(first.used, other.used),
        choose(first.errors, other.errors),
        choose(first.few, other.few),
        choose(first.behind, other.behind),
    )
