"""Every data set by its name on the command line: its settings, and the joints that its records hold."""

from dataclasses import dataclass

from jaxhar.data.h36m import H36M
from jaxhar.data.mpii import MPII
from jaxhar.data.ntu import NTU
from jaxhar.data.own import Own
from jaxhar.data.penn import Penn
from jaxhar.data.sequences import DataSet
from jaxhar.errors import Usage
from jaxhar.skeleton import NTU as NTU_JOINTS
from jaxhar.skeleton import PA16, PA21, PENN, Skeleton


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
