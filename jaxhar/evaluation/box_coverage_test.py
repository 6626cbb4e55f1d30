"""The scorer of directed masks counts what the network removed, and follows the law of the masks that it draws."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from jaxhar.core.patches import Patching
from jaxhar.core.pixels import Pixels
from jaxhar.core.prepared import View
from jaxhar.evaluation.box_coverage import BoxCoverage
from jaxhar.evaluation.scorer import Context


@dataclasses.dataclass(frozen=True)
class Config:
    patching: ClassVar[Patching] = Patching(2, 2, 4, 4, True, Pixels.KINETICS)


CONTEXT = Context(View("single", "each"), names=("a",) * 3, network=Config())  # type: ignore[arg-type]


def example(number, columns, size=8):
    """A clip whose first `columns` of pixels are inside of boxes."""
    cover = np.zeros((4, size, size), np.float32)
    cover[..., :columns] = 1
    return {"cover": cover, "sequence": number}


def test_what_is_removed_inside_and_outside_of_boxes():
    removed = np.zeros((2, 4, 4), np.float32)
    removed[:, :, :2], removed[0, 0, 2:] = 1, 1
    sums = BoxCoverage().begin(CONTEXT)
    for number, columns in enumerate((2, 4, 0)):
        sums.add(example(number, columns), {"removed": removed.reshape(1, -1)})
    sums.add({"sequence": 0}, {"removed": removed.reshape(1, -1)})  # without boxes in the data
    (section,) = sums.sections()
    assert section.scalars == pytest.approx(
        {
            "boxes/in_box": (0.25 + 0.5) / 3,
            "boxes/removed_in_box": 1.0,  # of the two clips with boxes
            "boxes/out_box": (0.75 + 0.5 + 1) / 3,
            "boxes/removed_out_box": (10 / 24 + 2 / 16 + 18 / 32) / 3,
            "boxes/empty": 1 / 3,
        }
    )
    assert section.tables[0].rows[0][:3] == ("the network", "25.0", "100.0")


def test_other_temperatures_follow_the_law_of_the_masks():
    """In and out of boxes on a quarter of the picture, by the large-number law for nine tenths removed."""
    sums = BoxCoverage(temperatures=(1.0, 0.5)).begin(CONTEXT)
    removed = np.ones((1, 2 * 28 * 28), np.float32)
    removed[:, : int(removed.size * 0.1)] = 0
    for number in range(40):
        sums.add(example(number, 14, size=56), {"removed": removed})
    (section,) = sums.sections()
    for temperature, inside, outside in (("1", 0.957, 0.882), ("0.5", 0.983, 0.873)):
        assert section.scalars[f"boxes/removed_in_box/{temperature}"] == pytest.approx(inside, abs=0.005)
        assert section.scalars[f"boxes/removed_out_box/{temperature}"] == pytest.approx(outside, abs=0.005)
    assert [row[0] for row in section.tables[0].rows][1:] == ["V1, temperature 1", "V1, temperature 0.5"]


def test_nothing_is_scored_where_there_is_no_mask_or_no_box():
    assert BoxCoverage().begin(dataclasses.replace(CONTEXT, network=None)) is None
    sums = BoxCoverage().begin(CONTEXT)
    sums.add(example(0, 2), {})
    assert sums.sections() == [] and BoxCoverage().truth({}, CONTEXT) == {}
