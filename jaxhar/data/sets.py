"""Every data set by its name on the command line: its settings, and the joints that its records hold."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxhar.core.skeleton import NTU as NTU_JOINTS
from jaxhar.core.skeleton import PA16, PA21, PENN, Skeleton
from jaxhar.data.dataset import DataSet
from jaxhar.data.h36m.settings import H36M
from jaxhar.data.mpii.settings import MPII
from jaxhar.data.ntu.settings import NTU
from jaxhar.data.own.settings import Own
from jaxhar.data.penn.settings import Penn
from jaxhar.host.errors import Usage
from jaxhar.host.settings import override


@dataclass(frozen=True)
class Known:
    """A data set.

    Attributes:
      settings: the default ones. layout: joints of its records.
      whole: settings that read all of it, to check it; None where the default ones do.
    """

    settings: DataSet
    layout: Skeleton
    whole: DataSet | None = None


SETS = {
    "penn": Known(Penn(), PENN),
    "mpii": Known(MPII(), PA16, MPII(parts=("train", "valid", "test"), separate=False)),
    "h36m": Known(H36M(), PA21),
    "ntu": Known(NTU(), NTU_JOINTS),
    "ntu120": Known(NTU(num_actions=120), NTU_JOINTS),
    "folder": Known(Own(), PA16),
}


def get(name: str) -> Known:
    """A set by name; Usage lists the known ones."""
    if name not in SETS:
        raise Usage(f"there is no data set {name!r}; there are {', '.join(SETS)}")
    return SETS[name]


def configured(
    name: str, root: Path, changes: Mapping[str, str], whole: bool = False, **fixed: Any
) -> tuple[Any, Skeleton]:
    """The settings of a set for a folder, and the joints of its records.

    Args:
      changes: settings as text, see `jaxhar.host.settings.override`. whole: read all of it. fixed: further settings.
    """
    known = get(name)
    changed = override(known.whole if whole and known.whole else known.settings, changes)
    return dataclasses.replace(changed, root=str(root.expanduser()), **fixed), known.layout
