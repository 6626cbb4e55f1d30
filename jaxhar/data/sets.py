"""All data sets by their names on the command line."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxhar.data.coco.settings import Coco
from jaxhar.data.dataset import DataSet
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.imagenet.settings import ImageNet
from jaxhar.data.kinetics.settings import Kinetics
from jaxhar.data.lip.settings import LIP
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.multiview import videos
from jaxhar.data.multiview.settings import MPIIGroups, MultiView
from jaxhar.data.ntu.settings import NTU
from jaxhar.data.ntu.skeletons import NTUSkeleton
from jaxhar.data.own.settings import Own
from jaxhar.data.penn import generate_deephar
from jaxhar.data.penn.settings import Penn
from jaxhar.data.people.settings import People
from jaxhar.data.pyskl.settings import Pyskl
from jaxhar.host.errors import Usage
from jaxhar.host.settings import override


@dataclass(frozen=True)
class KnownSet:
    """A data set of the commands: its default settings, and settings that read all that it has if they differ."""

    settings: DataSet
    complete: DataSet | None = None


SETS = {
    "penn": KnownSet(Penn()),
    "mpii": KnownSet(MPII(), MPII(parts=("train", "valid", "test"), separate=False)),
    "h36m": KnownSet(H36M()),
    "ntu": KnownSet(NTU()),
    "ntu120": KnownSet(NTU(num_actions=120)),
    "lip": KnownSet(LIP()),
    "h36m-multiview": KnownSet(MultiView()),
    "mpii-groups": KnownSet(MPIIGroups()),
    "coco": KnownSet(Coco()),
    "people": KnownSet(People()),
    "ntu-skeleton": KnownSet(NTUSkeleton()),
    "pyskl": KnownSet(Pyskl()),
    "kinetics": KnownSet(Kinetics(), Kinetics(thorough=True)),
    "imagenet": KnownSet(ImageNet()),
    "folder": KnownSet(Own()),
}


#: Name of a layout -> title, and the function that generates data in it.
LAYOUTS: dict[str, tuple[str, Callable[[Path, Synth], None]]] = {
    **{name: (one.settings.title, one.settings.generate) for name, one in SETS.items()},
    "multiview-videos": ("four synchronised videos for jaxhar reconstruct", videos.write),
    "penn-deephar": ("Penn Action, deephar's form", generate_deephar.write),
}


def get(name: str) -> KnownSet:
    """A set by name; Usage lists the known ones."""
    if name not in SETS:
        raise Usage(f"there is no data set {name!r}; there are {', '.join(SETS)}")
    return SETS[name]


def configured(name: str, root: Path, changes: Mapping[str, str], complete: bool = False, **fixed: Any) -> DataSet:
    """The settings of a set for a folder.

    Args:
      changes: settings as text, see `jaxhar.host.settings.override`. complete: read all splits.
      fixed: further settings.
    """
    known = get(name)
    changed = override(known.complete if complete and known.complete else known.settings, changes)
    return dataclasses.replace(changed, root=str(root.expanduser()), **fixed)


def with_setting(field: str) -> list[str]:
    """Names of the sets that have a setting."""
    return [name for name, one in SETS.items() if field in {f.name for f in dataclasses.fields(one.settings)}]
