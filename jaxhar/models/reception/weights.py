"""Layer names of deephar's CVPR'18 weight files and the modules they belong to."""

import re
from collections import defaultdict

import numpy as np

from jaxhar.core.family import Group, Kinds
from jaxhar.core.heatmaps import DepthGrid, depth_bins, soft_argmax_grids
from jaxhar.models.reception.action import STREAM_BLOCKS
from jaxhar.models.reception.network import ReceptionConfig


def layout(config: ReceptionConfig) -> dict[str, Kinds]:
    """The groups of deephar's file of a CVPR'18 network, with the module (dotted path) of each layer.

    Raises:
      ValueError: deephar's code cannot build such a network, so no file can contain it.
    """
    merge = config.num_actions is not None
    if merge and config.old_model:
        raise ValueError("deephar has no action network with the old stem, so no Keras file can hold one")
    trunk = "pose." if merge else ""
    groups: dict[str, Kinds] = {}
    blocks = [f"{trunk}blocks.{b}" for b in range(config.num_blocks)]
    parts: list[tuple[str, Kinds]] = _stem(f"{trunk}stem", config.old_model)
    for number, block in enumerate(blocks, 1):
        parts += [
            (f"rBlock{number}", _reception_block(f"{block}.reception")),
            (f"SepConv{number}", _numbered([f"{block}.separable.conv"], [], [f"{block}.separable.norm"])),
            (f"RegMap{number}", _numbered([], [f"{block}.maps"], [])),
        ]
        if block is not blocks[-1]:
            parts.append((f"fReMap{number}", _numbered([], [f"{block}.remap.conv"], [f"{block}.remap.norm"])))
    if not merge:
        return dict(parts) | _constants(config)

    # In files of action networks, everything from the first SepConv on is one nested model.
    groups["td_Stem"], groups["td_rBlock1"] = parts[0][1], parts[1][1]
    groups["td_Model#0"] = _join(kinds for _, kinds in parts[2:])
    groups |= _constants(config)
    entry = [f"pose_stream.conv_{x}" for x in ("a", "b", "c", "d", "e1", "e2")]
    groups["PoseAR"] = _join([_conv_norms(entry), *_action_blocks("pose_stream")])
    groups["GuidedVisAR"] = _join([_conv_norms(["visual_stream.entry"]), *_action_blocks("visual_stream")])
    if config.weighted_merge:
        groups["separable_conv2d#0"] = _numbered(["pose_weight"], [], [])
        groups["separable_conv2d#1"] = _numbered(["visual_weight"], [], [])
    return groups


def sequence(config: ReceptionConfig) -> list[str]:
    """The modules (dotted paths) in the order in which Keras lists the layers of its nested models.

    Keras sorts layers by their distance from the output. Of parallel units the convolutions come first, then the norms;
    short branches come late.
    """
    trunk = "" if config.num_actions is None else "pose."
    stem = f"{trunk}stem"
    waves = [[f"{stem}.conv{i}" for i in side] for side in ([1], [2], [3], [4], [7], [8], [5, 9], [6, 10], [11])]
    waves.append([f"{stem}.residual.shortcut", f"{stem}.residual.main"])
    for b in range(config.num_blocks):
        block = f"{trunk}blocks.{b}"
        level = f"{block}.reception.level"
        waves += [[f"{block}.reception.down"], *([f"{level}{i}.main"] for i in ("2_1", "3_1", "3_2"))]
        waves.append([f"{level}3_3.main", f"{level}2_2.main"])
        waves.append([f"{level}2_3.shortcut", f"{level}2_3.main", f"{level}1.main"])
        waves += [[f"{block}.{part}"] for part in ("separable", "maps", "remap")]
    waves.append([f"pose_stream.conv_{x}" for x in "abc"])
    waves += [["pose_stream.conv_e1"], ["pose_stream.conv_d", "pose_stream.conv_e2"], ["visual_stream.entry"]]
    for stream in ("pose_stream", "visual_stream"):
        for b in range(STREAM_BLOCKS):
            waves += [[f"{stream}.blocks.{b}.{part}"] for part in ("conv1", "conv2", "conv3", "maps", "remap")]
    return [f"{module}{part}" for wave in waves for part in (".conv", "", ".norm") for module in wave]


def _numbered(separable: list[str], conv: list[str], norm: list[str]) -> Kinds:
    kinds: Kinds = {"separable_conv2d": [*separable], "conv2d": [*conv], "batch_normalization": [*norm]}
    return {kind: targets for kind, targets in kinds.items() if targets}


def _conv_norms(modules: list[str]) -> Kinds:
    return _numbered([], [f"{m}.conv" for m in modules], [f"{m}.norm" for m in modules])


def _join(parts) -> Kinds:
    joined: Kinds = defaultdict(list)
    for kinds in parts:
        for kind, targets in kinds.items():
            joined[kind] += targets
    return dict(joined)


def _residual(name: str, module: str, shortcut: bool) -> Kinds:
    kinds: Kinds = {f"{name}_conv": [f"{module}.main.conv"], name: [f"{module}.main.norm"]}
    if shortcut:
        kinds |= {
            f"{name}_shortcut_conv": [f"{module}.shortcut.conv"],
            f"{name}_shortcut": [f"{module}.shortcut.norm"],
        }
    return kinds


def _stem(stem: str, old: bool) -> list[tuple[str, Kinds]]:
    """The stem is one group; in the old stem each layer of the residual unit is a separate group."""
    convs = _conv_norms([f"{stem}.conv{i}" for i in range(1, 12) if not (old and i == 2)])
    residual = _residual("sepconv1", f"{stem}.residual", shortcut=True)
    if not old:
        return [("Stem", convs | residual)]
    return [("Stem", convs), *((layer, {layer: modules}) for layer, modules in residual.items())]


def _reception_block(block: str) -> Kinds:
    kinds = _conv_norms([f"{block}.down"])
    for level in ("1", "2_1", "2_2", "2_3", "3_1", "3_2", "3_3"):
        kinds |= _residual(f"sepconv_l{level}", f"{block}.level{level}", shortcut=level == "2_3")
    return kinds


def _action_blocks(stream: str) -> list[Kinds]:
    blocks = []
    for b in range(STREAM_BLOCKS):
        block = f"{stream}.blocks.{b}"
        blocks.append(_conv_norms([f"{block}.conv{i}" for i in (1, 2, 3)]))
        blocks.append(_numbered([], [f"{block}.maps"], []))
        if b < STREAM_BLOCKS - 1:
            blocks.append(_conv_norms([f"{block}.remap"]))
    return blocks


def _constants(config: ReceptionConfig) -> dict[str, Kinds]:
    """Constant weights of the soft-argmax and the context aggregation, which are layers in deephar's code."""
    side, joints, context = -(-config.image_size // 8), config.num_joints, config.num_joints * config.num_context

    def grids(maps: int) -> Kinds:
        return {"(separable_conv2d|custom_sam)": [*soft_argmax_grids(side, maps)]}

    groups = {"sSAM": grids(joints)}
    if config.depth_maps:
        bins = depth_bins(config.depth_maps, config.depth_grid)
        groups["zSAM"] = {"conv1d": [{"kernel": bins[:, None, None] * np.eye(joints)}]}
    if context:
        groups["cSAM"] = grids(context)
        groups["Agg"] = {"dense": [{"kernel": np.repeat(np.eye(joints), config.num_context, axis=0)}]}
    return groups


def told(groups: dict[str, Group], config: ReceptionConfig) -> dict[str, str]:
    """The depth grid of a 3-D network, by the kernel with which deephar's code computes depths; {} if it fits none."""
    for name, layers in groups.items():
        if not config.depth_maps or not re.fullmatch(r"zSAM(_\d+)?", name):
            continue
        for kernel in (weights["kernel"] for weights in layers.values() if "kernel" in weights):
            for grid in DepthGrid:
                expected = depth_bins(len(kernel), grid)[:, None, None] * np.eye(kernel.shape[-1])
                if kernel.shape == expected.shape and np.allclose(kernel, expected, rtol=0, atol=1e-6):
                    return {"depth_grid": grid.value}
    return {}


def untold(config: ReceptionConfig) -> dict[str, str]:
    """The depth grid, which only a Keras file tells."""
    if not config.depth_maps:
        return {}
    now = config.depth_grid
    other = DepthGrid.CENTRES if now is DepthGrid.ENDS else DepthGrid.ENDS
    return {
        "depth_grid": f"the file does not tell where the depth bins lie: depth_grid={now.value} is taken, --set "
        f"depth_grid={other.value} takes the other (ends: deephar's published weights; centres: its later code)"
    }
