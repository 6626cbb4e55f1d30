"""Temperatures that make confidences mean the share of right answers (Guo et al., ICML 2017, section 4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Probabilities closer than this to 0 or 1 are taken as this far from them.
_EDGE = 1e-7


@dataclass(frozen=True)
class Calibration:
    """Temperatures of a network's probabilities; above 1 they become less certain. The most likely answer stays.

    Attributes:
      joints: of the joint probabilities. actions: of the class probabilities.
    """

    joints: float = 1.0
    actions: float = 1.0

    def __call__(self, preds: Mapping[str, Any]) -> dict[str, Any]:
        """Predictions of `jaxhar.infer` with `visible` and `action` calibrated; the other values unchanged."""
        found = dict(preds)
        if "visible" in found:
            found["visible"] = of_joints(found["visible"], self.joints)
        if "action" in found:
            sets = found["action"]
            calibrated = tuple(of_actions(one, self.actions) for one in (sets if isinstance(sets, tuple) else (sets,)))
            found["action"] = calibrated if isinstance(sets, tuple) else calibrated[0]
        return found


def of_joints(probability: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities of any shape, each with its logit divided by the temperature."""
    p = np.clip(np.asarray(probability, np.float64), _EDGE, 1 - _EDGE)
    return (1 / (1 + np.exp(-(np.log(p) - np.log1p(-p)) / temperature))).astype(np.float32)


def of_actions(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (..., A) of classes, with their logits divided by the temperature."""
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _EDGE)) / temperature
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)
