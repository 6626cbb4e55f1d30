"""Every data set by its name on the command line."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxhar.data.dataset import DataSet
from jaxhar.data.generate.film import Synth
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.ntu.settings import NTU
from jaxhar.data.own.settings import Own
from jaxhar.data.penn import generate_deephar
from jaxhar.data.penn.settings import Penn
from jaxhar.host.errors import Usage
from jaxhar.host.settings import override


@dataclass(frozen=True)
class Listed:
    """A data set that the commands know: its default settings, and those that read all of it where they differ."""

    settings: DataSet
    whole: DataSet | None = None


SETS = {
    "penn": Listed(Penn()),
    "mpii": Listed(MPII(), MPII(parts=("train", "valid", "test"), separate=False)),
    "h36m": Listed(H36M()),
    "ntu": Listed(NTU()),
    "ntu120": Listed(NTU(num_actions=120)),
    "folder": Listed(Own()),
}


#: Layout -> whose it is, and what generates data in it: that of every set, and another form of one.
LAYOUTS: dict[str, tuple[str, Callable[[Path, Synth], None]]] = {
    **{name: (one.settings.title, one.settings.generate) for name, one in SETS.items()},
    "penn-deephar": ("Penn Action, deephar's form", generate_deephar.write),
}


def get(name: str) -> Listed:
    """A set by name; Usage lists the known ones."""
    if name not in SETS:
        raise Usage(f"there is no data set {name!r}; there are {', '.join(SETS)}")
    return SETS[name]


def configured(name: str, root: Path, changes: Mapping[str, str], whole: bool = False, **fixed: Any) -> DataSet:
    """The settings of a set for a folder.

    Args:
      changes: settings as text, see `jaxhar.host.settings.override`. whole: read all of it. fixed: further settings.
    """
    known = get(name)
    changed = override(known.whole if whole and known.whole else known.settings, changes)
    return dataclasses.replace(changed, root=str(root.expanduser()), **fixed)


def with_setting(field: str) -> list[str]:
    """Names of the sets that have a setting."""
    return [name for name, one in SETS.items() if field in {f.name for f in dataclasses.fields(one.settings)}]
