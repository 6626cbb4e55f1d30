"""Layer names of deephar's SPNet weight files, the modules they belong to, and settings inferred from a file.

Every layer is a separate group with an explicit name: `dp3_pb1_conv1` is in the prediction block at level 1 of pyramid
3, which runs down; `act2_action_r1_bn1` in the second action block. Layers without a path to an output are not in the
file.
"""

import re
from dataclasses import replace
from typing import Any

import numpy as np

from jaxhar.core.family import Group, Kinds
from jaxhar.core.heatmaps import soft_argmax_grids
from jaxhar.models.spnet.config import BlockPosition, Downsampling, SPNetConfig


def layout(config: SPNetConfig) -> dict[str, Kinds]:
    """The groups of deephar's file of an SPNet, with the module (dotted path) of each layer."""
    positions = config.predictions
    layers: dict[str, Any] = _entry(config)
    acts = 0
    for k, position in enumerate(positions):
        step, last = f"pose.steps.{k}", k == len(positions) - 1
        layers |= _unit(config, position, f"{step}.unit") | _block(config, position, f"{step}.block", last)
        layers |= _grids(config, f"{_side(position)}_pb{position.level}_xy", position)
        if position.action:
            last = not any(later.action for later in positions[k + 1 :])
            layers |= _action(config, position, acts, last) | _grids(config, f"act{acts + 1}_xy2", position)
            acts += 1
    return {name: {name: [target]} for name, target in layers.items()}


def _side(position: BlockPosition) -> str:
    return f"{'dp' if position.pyramid % 2 else 'up'}{position.pyramid}"


def _unit_name(position: BlockPosition) -> str:
    return f"{_side(position)}_{'du' if position.pyramid % 2 else 'uu'}{position.level}"


def _residual(name: str, module: str, shortcut: bool, bottleneck: bool = False) -> dict[str, str]:
    layers = {f"{name}_bn1": f"{module}.norm"}
    if shortcut:
        layers[f"{name}_shortcut_conv"] = f"{module}.shortcut"
    if not bottleneck:
        return layers | {f"{name}_conv1": f"{module}.main"}
    second = {"conv1": "reduce", "bn2": "main.norm", "conv2": "main.conv"}
    return layers | {f"{name}_{layer}": f"{module}.{ours}" for layer, ours in second.items()}


def _entry(config: SPNetConfig) -> dict[str, Any]:
    layers = {"conv1": "pose.entry.conv"}
    for i, (inputs, outputs, stride) in enumerate(config.entry_units):
        shortcut = inputs != outputs or stride > 1
        layers |= _residual(f"res{i}", f"pose.entry.residuals.{i}", shortcut, bottleneck=True)
    return layers


def _unit(config: SPNetConfig, position: BlockPosition, module: str) -> dict[str, str]:
    name = _unit_name(position)
    if config.downsampling is Downsampling.CONV and position.pyramid % 2 == 0:
        return {f"{name}_bn1": f"{module}.norm", f"{name}_convtrans1": f"{module}.conv"}
    return _residual(f"{name}_r0", f"{module}.residual", shortcut=True)


def _block(config: SPNetConfig, position: BlockPosition, module: str, last: bool) -> dict[str, str]:
    replica, depth = config.pose_replica and position.action, config.depth_maps
    layers = {"bn1": "features.norm", "conv1": "features.conv", "bn2": "norm", "heatmaps_conv1": "maps.maps"}
    if replica:
        layers["heatmaps_conv1_replica"] = "replica.maps"
    if depth:
        layers["depthmaps_conv1"] = "maps.depth"
    if depth and replica:
        layers["depthmaps_conv1_replica"] = "replica.depth"
    if not last:
        layers |= {"heatmaps_fw_maps": "remap.context", "heatmaps_conv2": "remap.maps"}
    if depth and not last:
        layers["depthmaps_conv2"] = "remap.depth"
    name = f"{_side(position)}_pb{position.level}"
    return _residual(f"{name}_r1", f"{module}.residual", shortcut=False) | {
        f"{name}_{layer}": f"{module}.{ours}" for layer, ours in layers.items()
    }


def _action(config: SPNetConfig, position: BlockPosition, index: int, last: bool) -> dict[str, str]:
    name, module = f"act{index + 1}_action", f"actions.{index}"
    layers = {"p_conv0a": "conv_a", "p_conv0b": "conv_b", "p_conv0c": "conv_c", "v_conv0": "visual"}
    layers |= {"pred_bn1": "features.norm", "pred_conv1": "features.conv", "pred_bn2": "norm"}
    layers |= {f"pred_conv2h{i}": f"maps.{i}" for i in range(len(config.num_actions or ()))}
    if not last:
        layers["pred_conv3"] = "remap"
    carry = _residual(f"{_unit_name(position)}_action_r0", f"{module}.carry", shortcut=False) if index else {}
    fusion = _residual(f"{name}_r1", f"{module}.pose", shortcut=True, bottleneck=True)
    fusion |= _residual(f"{name}_r2", f"{module}.fusion", shortcut=True, bottleneck=True)
    return carry | fusion | {f"{name}_{layer}": f"{module}.{ours}" for layer, ours in layers.items()}


def _grids(config: SPNetConfig, name: str, position: BlockPosition) -> dict[str, dict[str, np.ndarray]]:
    side = -(-config.image_size // (config.image_div << position.level))
    x, y = soft_argmax_grids(side, config.num_joints)
    return {f"{name}_x": x, f"{name}_y": y}


def renumber(groups: dict[str, Group]) -> dict[str, Group]:
    """Renumbers action blocks from 1; deephar's code counts them over all networks of a process."""
    numbers = [int(found[1]) for name in groups if (found := re.match(r"act(\d+)_", name))]
    shift = min(numbers, default=1) - 1

    def renamed(name: str) -> str:
        return re.sub(r"^act(\d+)_", lambda found: f"act{int(found[1]) - shift}_", name)

    if not shift:
        return groups
    return {renamed(name): {renamed(layer): w for layer, w in group.items()} for name, group in groups.items()}


def infer_config(groups: dict[str, Group]) -> SPNetConfig:
    """Infers the settings of an SPNet file from its layer names and shapes.

    Settings that cannot be inferred are those of deephar's scripts: clips of 8 frames if there are action blocks,
    `sam_alpha` 1, and max-pooling if no pyramid runs up.

    Args:
      groups: as `keras.read` returns them.

    Raises:
      ValueError: the file is not of an SPNet, or a layer is missing that is needed for this.
    """
    groups = renumber(groups)
    positions = sorted({(int(m[1]), int(m[2])) for n in groups if (m := re.match(r"(?:dp|up)(\d+)_pb(\d+)_bn1$", n))})
    if not positions:
        raise ValueError("not a file of an SPNet: it has no prediction blocks named dp1_pb1, ...")

    def shape(layer: str, weight: str = "kernel") -> tuple[int, ...]:
        try:
            return groups[layer][layer][weight].shape
        except KeyError:
            raise ValueError(f"not a complete file of an SPNet: it has no {layer}/{weight}") from None

    def numbers(pattern: str) -> list[int]:
        return sorted({int(found[1]) for name in groups if (found := re.match(pattern, name))})

    pyramids, levels = max(p for p, _ in positions), max(level for _, level in positions) + 1
    image_div = 4 << (max(numbers(r"res(\d+)_bn1$"), default=2) - 2) // 2
    finest = min(positions, key=lambda position: position[1])
    side = shape(f"{'dp' if finest[0] % 2 else 'up'}{finest[0]}_pb{finest[1]}_xy_x", "depthwise_kernel")[0]
    config = SPNetConfig(
        image_size=(side << finest[1]) * image_div,
        image_div=image_div,
        num_pyramids=pyramids,
        num_levels=levels,
        num_predictions=len(positions) if len(positions) < pyramids * (levels - 1) else None,
        growth=shape("res0_conv2")[-1],
        kernel_size=shape("dp1_pb1_conv1", "depthwise_kernel")[0],
        downsampling=Downsampling.CONV if numbers(r"up(\d+)_uu\d+_convtrans1$") else Downsampling.MAX_POOLING,
        num_joints=shape("dp1_pb1_heatmaps_conv1")[-1],
        depth_maps="dp1_pb1_depthmaps_conv1" in groups,
    )
    blocks = numbers(r"act(\d+)_action_r1_bn1$")
    if not blocks:
        return config
    heads = numbers(r"act1_action_pred_conv2h(\d+)$")
    config = replace(
        config,
        action_pyramids=tuple(range(1, pyramids + 1)),
        num_frames=8,
        num_actions=tuple(shape(f"act1_action_pred_conv2h{i}")[-1] for i in heads),
        num_pose_features=shape("act1_action_r1_conv2")[-1],
        num_visual_features=shape("act1_action_v_conv0")[-1],
        pose_replica=any(name.endswith("_heatmaps_conv1_replica") for name in groups),
    )
    return replace(config, action_pyramids=_action_pyramids(config, groups, len(blocks), shape("act1_action_v_conv0")))


def _action_pyramids(
    config: SPNetConfig, groups: dict[str, Group], count: int, first: tuple[int, ...]
) -> tuple[int, ...]:
    """The pyramids with action blocks, found by the layers between their levels; the first block has none."""
    found_pyramids = {
        int(found[1])
        for name in groups
        if (found := re.match(r"(?:dp|up)(\d+)_(?:\w\w\d+_action_r0_bn1|pb\d+_heatmaps_conv1_replica)$", name))
    }
    fits = []
    for extra in [set(), *({p} for p in range(1, min(found_pyramids, default=config.num_pyramids + 1)))]:
        acting = [position for position in config.predictions if position.pyramid in found_pyramids | extra]
        if len(acting) == count and config.channels(acting[0].level) == first[-2]:
            fits.append(tuple(sorted(found_pyramids | extra)))
    if len(fits) != 1:
        raise ValueError(f"cannot tell from this file which pyramids of the SPNet its {count} action blocks belong to")
    return fits[0]
