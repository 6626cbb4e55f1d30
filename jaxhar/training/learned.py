"""What a run has learned so far of actions and joints, and from which cameras: predictions claim no more than that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxhar.training.step import Batches


@dataclass
class Learned:
    """Counts of action labels, the joints that were labelled, and the cameras; saved with the weights.

    Attributes:
      actions: whether any example had an action, here or in the training of the weights from which the run started.
      classes: number of examples of each class of one set of labels; [] for soft labels and several sets.
      cameras: the V cameras (22 numbers each) of the first moment whose views were read together; [] without any.
      joints: whether any example had the joint, for each of them; [] if no batch had joints.
    """

    actions: bool = False
    classes: list[int] = field(default_factory=list)
    cameras: list[list[float]] = field(default_factory=list)
    joints: list[bool] = field(default_factory=list)

    def add(self, batches: Batches) -> None:
        """Counts the labels of one step, and keeps the first cameras."""
        for batch in batches.values():
            if not self.cameras and "camera" in batch and "together" in batch:
                together = np.flatnonzero(np.asarray(batch["together"]))
                if len(together):
                    self.cameras = np.asarray(batch["camera"])[together[0]].astype(float).round(6).tolist()
            if "valid" in batch and not (self.joints and all(self.joints)):
                self._add_joints(np.asarray(np.asarray(batch["valid"]).any((0, 1, 3))).tolist())
            if "action" not in batch:
                continue
            sets = batch["action"] if isinstance(batch["action"], tuple) else (batch["action"],)
            labels = [np.asarray(one) for one in sets]
            self.actions |= any(bool((one >= 0).any()) for one in labels)
            if len(labels) == 1 and labels[0].ndim == 1:
                counts = np.bincount(labels[0][labels[0] >= 0], minlength=len(self.classes))
                counts[: len(self.classes)] += np.array(self.classes, int)
                self.classes = counts.tolist()

    def _add_joints(self, seen: Sequence[bool]) -> None:
        self.joints = [a or b for a, b in zip(self.joints or [False] * len(seen), seen, strict=True)]

    @classmethod
    def of_all(cls, parts: Sequence["Learned"]) -> "Learned":
        """What several processes have learned; the cameras are those of the first that saw any."""
        classes = np.zeros(max(len(part.classes) for part in parts), int)
        for part in parts:
            classes[: len(part.classes)] += np.array(part.classes, int)
        cameras = next((part.cameras for part in parts if part.cameras), [])
        found = cls(any(part.actions for part in parts), classes.tolist(), cameras)
        for part in parts:
            if part.joints:
                found._add_joints(part.joints)
        return found

    def unseen(self, names: tuple) -> list[str]:
        """The classes of one set of labels without a single example; [] if that is not known."""
        if not self.classes:
            return []
        return [name for name, count in zip(names, [*self.classes, *[0] * len(names)], strict=False) if not count]

    def unseen_joints(self, names: Iterable[str]) -> list[str]:
        """The joints that no example had; [] if that is not known."""
        return [name for name, seen in zip(names, self.joints, strict=True) if not seen] if self.joints else []
