"""Names of the weights of heat-map networks (`jaxhar.nn.maps.MapsNet`) in PyTorch files.

They are those of torchvision's ResNet, of microsoft/human-pose-estimation.pytorch and of HRNet's repository.
"""

import re
from collections.abc import Callable

from jaxhar.core.family import Kind, Rule

#: Patterns of dotted paths, and their PyTorch names without the name of the array. Parts `conv` and `norm` of a unit
#: are two numbered or named modules there; {0} and {1} stand for them.
_UNITS: tuple[tuple[str, Callable[[re.Match[str]], tuple[str, str]]], ...] = (
    (r"backbone\.(|.*\.)conv(\d)", lambda m: (f"{m[1]}conv{m[2]}", f"{m[1]}bn{m[2]}")),
    (r"backbone\.(layer\d\.\d+)\.shortcut", lambda m: _numbered(f"{m[1]}.downsample")),
    (r"backbone\.transition1\.0", lambda m: _numbered("transition1.0")),
    (r"backbone\.transition1\.1", lambda m: _numbered("transition1.1.0")),
    (r"backbone\.transition([23])\.0", lambda m: _numbered(f"transition{m[1]}.{m[1]}.0")),
    (r"backbone\.(stage\d\.\d+)\.up\.(\d)_(\d)", lambda m: _numbered(f"{m[1]}.fuse_layers.{m[3]}.{m[2]}")),
    (
        r"backbone\.(stage\d\.\d+)\.down\.(\d)_(\d)\.(\d)",
        lambda m: _numbered(f"{m[1]}.fuse_layers.{m[3]}.{m[2]}.{m[4]}"),
    ),
    (r"backbone\.stem", lambda m: _numbered("mobilenetv2.features.0")),
    (r"backbone\.blocks\.(\d+)\.(expand|depthwise|project)", lambda m: _inverted(int(m[1]), m[2])),
    (r"deconv\.(\d)", lambda m: (f"deconv_layers.{3 * int(m[1])}", f"deconv_layers.{3 * int(m[1]) + 1}")),
)
_ARRAYS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def _numbered(module: str) -> tuple[str, str]:
    return f"{module}.0", f"{module}.1"


def _inverted(block: int, part: str) -> tuple[str, str]:
    """Of MobileNetV2, whose first block has no expansion; every unit is followed by an activation with a number."""
    place = 3 * (("depthwise", "project") if block == 0 else ("expand", "depthwise", "project")).index(part)
    module = f"mobilenetv2.features.{block + 1}.conv"
    return f"{module}.{place}", f"{module}.{place + 1}"


def original(path: str) -> str:
    """The PyTorch name of a weight of `MapsNet` by its dotted path."""
    module, _, array = path.rpartition(".")
    if module == "final":
        return f"final_layer.{_ARRAYS[array]}"
    unit, _, part = module.rpartition(".")
    for pattern, names in _UNITS:
        if match := re.fullmatch(pattern, unit):
            return f"{names(match)[part == 'norm']}.{_ARRAYS[array]}"
    return path


def lip(name: str) -> str:
    """An original name -> that of single-person-pose-estimation, which numbers the modules."""
    for pattern, template in (
        (r"conv1\.(.*)", r"resnet_backbone.0.\1"),
        (r"bn1\.(.*)", r"resnet_backbone.1.\1"),
        (r"deconv_layers\.(.*)", r"deconv.\1"),
        (r"final_layer\.(.*)", r"heatmap_out.0.\1"),
    ):
        if match := re.fullmatch(pattern, name):
            return match.expand(template)
    return re.sub(r"^layer(\d)", lambda m: f"resnet_backbone.{int(m[1]) + 3}", name)


def table(rename: Callable[[str], str] = str) -> tuple[Rule, ...]:
    """Rules for the weights of a `MapsNet` that is the part `single` of a network.

    Args:
      rename: original name -> name in the file.
    """

    def name(match: re.Match[str]) -> str:
        return rename(original(match["path"]))

    def rule(pattern: str, kind: Kind) -> Rule:
        return Rule(rf"single\.(?P<path>{pattern})", name, kind)

    return (
        rule(r"deconv\.\d\.conv\.kernel", Kind.DECONV),
        rule(r"backbone\.blocks\.\d+\.depthwise\.conv\.kernel", Kind.DEPTHWISE),
        rule(r"(?:backbone|deconv|final)\..*kernel", Kind.CONV),
        rule(r"(?:backbone|deconv|final)\..*", Kind.NORM),
    )
