"""All data sets by their names on the command line."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxhar.core import classes
from jaxhar.data.coco.settings import Coco
from jaxhar.data.dataset import DataSet
from jaxhar.data.generate.film import Synth
from jaxhar.data.generate.handstands import HANDSTANDS
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.imagenet.settings import ImageNet
from jaxhar.data.kinetics.settings import Kinetics
from jaxhar.data.lip.settings import LIP
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.multiview import videos
from jaxhar.data.multiview.settings import MPIIGroups, MultiView
from jaxhar.data.ntu.settings import NTU
from jaxhar.data.ntu.skeletons import NTUSkeleton
from jaxhar.data.own import generate as own_generate
from jaxhar.data.own.settings import Own
from jaxhar.data.penn import generate as penn_generate
from jaxhar.data.penn import generate_deephar
from jaxhar.data.penn.settings import Penn
from jaxhar.data.people import videos as people_videos
from jaxhar.data.people.mpii import PeopleOfMPII
from jaxhar.data.people.settings import People
from jaxhar.data.pyskl.settings import Pyskl
from jaxhar.data.pyskl.videos import PysklVideos
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
    "people-mpii": KnownSet(PeopleOfMPII()),
    "ntu-skeleton": KnownSet(NTUSkeleton()),
    "pyskl": KnownSet(Pyskl()),
    "kinetics": KnownSet(Kinetics(), Kinetics(thorough=True)),
    "imagenet": KnownSet(ImageNet()),
    "pyskl-videos": KnownSet(PysklVideos()),
    "folder": KnownSet(Own()),
}


#: Name of a layout -> title, and the function that generates data in it.
LAYOUTS: dict[str, tuple[str, Callable[[Path, Synth], None]]] = {
    **{name: (one.settings.title, one.settings.generate) for name, one in SETS.items()},
    "multiview-videos": ("four synchronised videos for jaxhar reconstruct", videos.write),
    "people-videos": ("videos of two persons for jaxhar predict --persons all", people_videos.write),
    "penn-deephar": ("Penn Action, deephar's form", generate_deephar.write),
}


#: Name of a layout whose data may be of some classes alone -> the function that generates it, and the classes.
OF_CLASSES = {
    "penn": (penn_generate.write, classes.PENN),
    "folder": (own_generate.write, (*classes.PENN, *HANDSTANDS)),
}


def generate(layout: str, out: Path, synth: Synth, chosen: Sequence[str] = ()) -> None:
    """Generate data in a layout of `LAYOUTS`.

    Args:
      chosen: names of classes, or one number, for the first classes; () for those of the layout.

    Raises:
      Usage: a class that there is not, or a layout whose classes are fixed.
    """
    if not chosen:
        return LAYOUTS[layout][1](out, synth)
    if layout not in OF_CLASSES:
        raise Usage(f"the classes of the layout {layout} are fixed; --classes is for {' and '.join(OF_CLASSES)}")
    write, known = OF_CLASSES[layout]
    if len(chosen) == 1 and chosen[0].isdecimal():
        if not 1 <= int(chosen[0]) <= len(known):
            raise Usage(f"--classes {chosen[0]}: there are 1 to {len(known)} classes")
        chosen = known[: int(chosen[0])]
    for name in chosen:
        if name not in known or [*chosen].count(name) > 1:
            said = "is there twice" if name in known else f"is none of {', '.join(known)}"
            raise Usage(f"--classes: {name} {said}")
    write(out, synth, names=tuple(chosen))


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
