"""Draws the persons of a frame as the overlay of `jaxhar predict` shows them."""

from collections import deque
from collections.abc import Sequence

import numpy as np

from jaxhar.core.skeleton import Skeleton
from jaxhar.predict.boxes import BOX_CONFIDENCE
from jaxhar.predict.frame_result import FrameResult, named, of_scene
from jaxhar.viz import draw as viz

#: Length of the curves in the overlay, in seconds.
HISTORY = 4.0


class Overlay:
    """Draws frame after frame, because the panel of a video shows the probabilities of the last seconds.

    The panel is that of the one person, or of the scene.

    Args:
      actions: names of the classes. several: write identity and action at each person, without a panel.
      fps: frames per second of a video; None for still pictures, whose panel has no curves.
    """

    def __init__(self, skeleton: Skeleton, actions: Sequence[str], several: bool, fps: float | None):
        self._skeleton, self._actions, self._several = skeleton, actions, several
        self._curves = fps is not None
        self._history: deque[np.ndarray] = deque(maxlen=max(2, round(HISTORY * (fps or 1.0))))

    def remember(self, results: Sequence[FrameResult]) -> None:
        """Take note of a frame that is not drawn. `results`: the persons in it, and perhaps the scene."""
        shown = of_scene(results) if self._several else results[0] if results else None
        if shown is not None and not shown.unfamiliar and shown.action is not None:
            self._history.append(shown.action)

    def draw(self, image: np.ndarray, results: Sequence[FrameResult]) -> np.ndarray:
        """An image (H, W, 3) uint8 with the persons in it, and perhaps the action of the scene.

        The panel with the action is in a corner. Upright pictures have it in a strip below them, because it would cover
        half of their width.
        """
        below = bool(self._actions) and not self._several and image.shape[0] > image.shape[1]
        persons = [result for result in results if result.person]
        for result in persons:
            image = viz.draw_box(image, result.box.tolist())
            confidence = None if np.isnan(result.confidence).all() else result.confidence
            image = viz.draw_skeleton(image, result.pose, self._skeleton, confidence, BOX_CONFIDENCE)
        if self._several:
            for result in persons:
                image = viz.draw_label(image, result.box.tolist(), self._label(result))
        self.remember(results)
        panel = of_scene(results) if self._several or not persons else persons[0]
        unfamiliar = bool(panel is not None and panel.unfamiliar)
        if unfamiliar:
            image = viz.draw_words(image, "unfamiliar: unlike what the network was trained on")
        action = panel.action if panel is not None and not unfamiliar else None
        name, probability = named(action, self._actions)
        history = np.stack(self._history) if self._curves and self._history else None
        if below:
            if self._curves and history is None:
                history = np.zeros((2, len(self._actions)))  # the strip of all frames is as high as that with curves
            return viz.draw_action_below(image, name, probability, history)
        return image if name is None or probability is None else viz.draw_action(image, name, probability, history)

    def _label(self, result: FrameResult) -> str:
        if result.unfamiliar:
            return f"{result.id} unfamiliar"
        name, probability = named(result.action, self._actions)
        return str(result.id) if name is None else f"{result.id} {name.replace('_', ' ')} {probability:.0%}"
