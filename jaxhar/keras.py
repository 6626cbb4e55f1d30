"""The authors' Keras 2 weight files: how they are laid out, and which weight is which leaf of ours.

A file holds one group per top-level layer; a group lists the weights of every layer nested in it, trainable ones first.
Layers are named explicitly (`sepconv_l2_1`, `sepconv_l2_1_1` in the second block) or numbered in the order of their
creation by a counter of the whole process (`conv2d_37`). Order within a kind is therefore the number, not the place.
"""

import re
from collections import defaultdict
from pathlib import Path

import h5py
import numpy as np

from jaxhar.errors import Problem
from jaxhar.models.action import STREAM_BLOCKS
from jaxhar.models.reception import Config

#: layer -> weight -> array
Group = dict[str, dict[str, np.ndarray]]
#: What the layers of one kind are, in the order of their numbers: modules by dotted path, or weights known beforehand.
Kinds = dict[str, list[str | dict[str, np.ndarray]]]

_LEAF = {
    "kernel": "kernel",
    "depthwise_kernel": "depthwise.kernel",
    "pointwise_kernel": "pointwise.kernel",
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
}


def read(path: Path) -> dict[str, Group]:
    """The weighted groups of a Keras .h5 file, in file order.

    Raises:
      Problem: the file is missing, damaged, or not a Keras weight file.
    """
    if not Path(path).is_file():
        raise Problem(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            root = file["model_weights"] if "model_weights" in file else file
            if not any(key.startswith("layer_names") for key in root.attrs):
                raise Problem(f"{path}: an HDF5 file, but not of Keras weights (it has no attribute layer_names)")
            groups = {name: _group(root, name) for name in _texts(root.attrs, "layer_names")}
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        reason = str(error).strip("'\"").splitlines()[0]
        raise Problem(f"{path}: cannot be read as a Keras weight file, download it again ({reason})") from error
    return {name: group for name, group in groups.items() if group}


def _texts(attributes: h5py.AttributeManager, name: str) -> list[str]:
    """A list of names; Keras splits long ones over name0, name1, ..., and newer h5py gives text for bytes."""
    keys = [name] if name in attributes else sorted((k for k in attributes if re.fullmatch(rf"{name}\d+", k)), key=len)
    values = [value for key in keys for value in np.atleast_1d(attributes[key])]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _group(root: h5py.Group, name: str) -> Group:
    layers: Group = defaultdict(dict)
    for weight in _texts(root[name].attrs, "weight_names"):
        *above, leaf = weight.split(":")[0].split("/")
        layers[above[-1] if above else name][leaf] = np.asarray(root[name][weight])
    return dict(layers)


def assign(groups: dict[str, Group], layout: dict[str, Kinds]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Give every weight of a file its leaf.

    Args:
      groups: as `read` returns them.
      layout: group -> kinds, as `layout` returns it.

    Returns:
      dotted leaf -> array, and a list of complaints: groups, layers or weights that are missing or left over, known
      constants that differ.
    """
    flat: dict[str, np.ndarray] = {}
    complaints: list[str] = []
    found = _by_kind(groups, layout)
    for name, kinds in layout.items():
        if name not in found:
            complaints.append(f"group {name} is missing")
            continue
        group_name, group = found.pop(name)
        for kind, layers in _by_number(group, kinds).items():
            targets = kinds.get(kind)
            if targets is None:
                complaints.append(f"left over: {group_name}/{', '.join(layers)}")
            elif len(layers) != len(targets):
                complaints.append(f"{group_name} has {len(layers)} layers {kind}, expected {len(targets)}")
            else:
                for layer, target in zip(layers, targets, strict=True):
                    complaints += _take(flat, f"{group_name}/{layer}", group[layer], target)
        for kind in kinds.keys() - _by_number(group, kinds).keys():
            complaints.append(f"{group_name} has no layer {kind}")
    complaints += [f"left over: group {name}" for name, _ in found.values()]
    return flat, complaints


def _take(flat: dict, layer: str, weights: dict[str, np.ndarray], target: str | dict[str, np.ndarray]) -> list[str]:
    """Put one layer's weights into `flat`, or check them if they are constants; complaints are returned."""
    if isinstance(target, str):
        unknown = [weight for weight in weights if weight not in _LEAF]
        flat.update({f"{target}.{_LEAF[w]}": array for w, array in weights.items() if w in _LEAF})
        return [f"left over: {layer}/{weight}" for weight in unknown]
    complaints = []
    for weight in weights.keys() | target.keys():
        if weight not in weights or weight not in target:
            complaints.append(f"{layer}/{weight} is {'missing' if weight in target else 'left over'}")
        elif weights[weight].shape != target[weight].shape:
            complaints.append(f"{layer}/{weight} has shape {weights[weight].shape}, expected {target[weight].shape}")
        elif not np.allclose(weights[weight], target[weight], rtol=0, atol=1e-6):
            complaints.append(f"{layer}/{weight} is not the soft-argmax constant it should be")
    return complaints


def _by_kind(groups: dict[str, Group], layout: dict[str, Kinds]) -> dict[str, tuple[str, Group]]:
    """Layout's group name -> (name in the file, group). A layout name "base#i" is the i-th group base_<number>."""
    found = {}
    numbered = defaultdict(list)
    for name, group in groups.items():
        base = name if name in layout else re.sub(r"_?\d+$", "", name)
        numbered[base].append((_number(name), name, group))
    for base, members in numbered.items():
        members.sort(key=lambda m: m[0])
        for i, (_, name, group) in enumerate(members):
            key = base if base in layout and len(members) == 1 else f"{base}#{i}"
            found[key] = (name, group)
    return found


def _by_number(group: Group, kinds: Kinds) -> dict[str, list[str]]:
    """kind -> its layers in the order of their numbers; a layer of no known kind stands under its own name."""
    ordered: dict[str, list[str]] = defaultdict(list)
    for layer in group:
        matches = [kind for kind in kinds if re.fullmatch(rf"{kind}(_\d+)?", layer)]
        ordered[max(matches, key=len, default=layer)].append(layer)
    return {
        kind: sorted(layers, key=lambda name: _number(re.sub(f"^{kind}", "", name))) for kind, layers in ordered.items()
    }


def _number(name: str) -> int:
    """The number at the end of an automatic name; the first layer of tf.keras has none."""
    match = re.search(r"(\d+)$", name)
    return int(match[1]) if match else -1


# ---- which layer is which module -------------------------------------------------------------------------------------


def layout(config: Config) -> dict[str, Kinds]:
    """The groups of the authors' file of a CVPR'18 network, and the modules (dotted paths) their layers belong to."""
    merge = config.num_actions is not None
    trunk = "pose." if merge else ""
    groups: dict[str, Kinds] = {}
    blocks = [f"{trunk}blocks.{b}" for b in range(config.num_blocks)]
    parts: list[tuple[str, Kinds]] = [("Stem", _stem(f"{trunk}stem"))]
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

    # In the merge files, all from the first SepConv on is one nested model.
    groups["td_Stem"], groups["td_rBlock1"] = parts[0][1], parts[1][1]
    groups["td_Model"] = _join(kinds for _, kinds in parts[2:])
    groups |= _constants(config)
    entry = [f"pose_stream.conv_{x}" for x in ("a", "b", "c", "d", "e1", "e2")]
    groups["PoseAR"] = _join([_conv_norms(entry), *_action_blocks("pose_stream")])
    groups["GuidedVisAR"] = _join([_conv_norms(["visual_stream.entry"]), *_action_blocks("visual_stream")])
    groups["separable_conv2d#0"] = _numbered(["pose_weight"], [], [])
    groups["separable_conv2d#1"] = _numbered(["visual_weight"], [], [])
    return groups


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


def _stem(stem: str) -> Kinds:
    return _conv_norms([f"{stem}.conv{i}" for i in range(1, 12)]) | _residual("sepconv1", f"{stem}.residual", True)


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


def _constants(config: Config) -> dict[str, Kinds]:
    """The soft-argmax grids and the aggregation matrix: layers in the authors' code, arithmetic in ours."""
    side, joints, context = config.image_size // 8, config.num_joints, config.num_joints * config.num_context

    def grids(maps: int) -> Kinds:
        ramp = np.broadcast_to(np.linspace(0, 1, side)[:, None, None], (side, maps, 1))
        eye = np.eye(maps)[None, None]
        x = {"depthwise_kernel": np.stack([ramp] * side, 0), "pointwise_kernel": eye}
        y = {"depthwise_kernel": np.stack([ramp] * side, 1), "pointwise_kernel": eye}
        return {"(separable_conv2d|custom_sam)": [x, y]}

    groups = {"sSAM": grids(joints)}
    if context:
        groups["cSAM"] = grids(context)
        groups["Agg"] = {"dense": [{"kernel": np.repeat(np.eye(joints), config.num_context, axis=0)}]}
    return groups
