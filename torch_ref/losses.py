"""Training losses in PyTorch, as jaxhar/training/losses."""

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ref.gaussian import encode, encode_lip


def binary_crossentropy(pred: Tensor, target: Tensor) -> Tensor:
    """Elementwise cross-entropy; the prediction is clipped to [1e-7, 1 - 1e-7] and the target to [0, 1]."""
    pred = pred.clamp(1e-7, 1 - 1e-7)
    target = target.clamp(0, 1)
    return -(target * pred.log() + (1 - target) * torch.log1p(-pred))


def pose(pred: Tensor, target: Tensor, valid: Tensor, coordinate_bce: float = 0.01) -> Tensor:
    """(..., J, D) -> (...): absolute + squared + cross-entropy error, averaged over the labelled coordinates."""
    valid = valid.expand_as(pred)
    pred = pred.where(valid, 0.5)
    target = target.expand_as(pred).where(valid, 0.5)
    error = pred - target
    cost = error.abs() + error**2 + coordinate_bce * binary_crossentropy(pred, target)
    return cost.where(valid, 0.0).sum((-2, -1)) / valid.sum((-2, -1)).clamp(min=1)


def visible(pred: Tensor, target: Tensor) -> Tensor:
    """(..., J) -> (...): cross-entropy averaged over the joints."""
    return binary_crossentropy(pred, target.expand_as(pred)).mean(-1)


def action(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits (K', B, A) and classes (B,) -> (K', B); 0 where the class is -1."""
    heads = logits.shape[0]
    cost = F.cross_entropy(logits.flatten(0, 1), target.long().repeat(heads), ignore_index=-1, reduction="none")
    return cost.unflatten(0, (heads, -1))


def multitask(preds: dict[str, Tensor], batch: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
    """The weighted terms, each (B,), summed over blocks and heads, averaged over frames."""
    terms = {}
    if "pose" in batch:
        terms["pose"] = weights["pose"] * pose(preds["pose"], batch["pose"], batch["valid"]).mean(-1).sum(0)
    if "visible" in batch:
        terms["visible"] = weights["visible"] * visible(preds["visible"], batch["visible"]).mean(-1).sum(0)
    if "action" in batch and "action" in preds:
        logits, labels = preds["action"], batch["action"]
        sets = zip(logits, labels, strict=True) if isinstance(logits, tuple) else [(logits, labels)]
        terms["action"] = weights["action"] * torch.stack([action(*one).sum(0) for one in sets]).sum(0)
    return terms


def maps(preds: dict[str, Tensor], batch: dict[str, Tensor], kind: str = "standard", sigma: float = 2.0) -> Tensor:
    """Squared error (B,) of maps (K, B, T, h, w, J): mean over pixels, sum over joints, frames and predictions.

    Args:
      kind: standard, lip or lip_legacy, see jaxhar/training/losses/maps.py.
    """
    found = preds["maps"].movedim(-1, -3)
    size = found.shape[-2], found.shape[-1]
    labelled = batch["valid"][..., :2].all(-1)
    cells = batch["pose"][..., :2].where(labelled[..., None], 0.0) * batch["pose"].new_tensor([size[1], size[0]])
    if kind == "standard":
        target, weight = encode(cells, labelled, size, sigma)
    else:
        target, weight = encode_lip(cells, labelled, size, legacy=kind == "lip_legacy"), torch.ones_like(cells[..., 0])
    error = (weight[..., None, None] * (found - target)) ** 2
    return error.mean((-2, -1)).sum((0, 2, 3))
