"""Rigs that are moved, turned, scaled, disturbed and exchanged."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxhar.core import rig
from jaxhar.data.generate import room


def test_only_directions_within_the_rig_count():
    cameras = room.cameras(1, (100, 100))
    turn = Rotation.from_euler("xyz", [20, -50, 100], degrees=True).as_matrix()
    moved = [replace(c, R=c.R @ turn.T, t=3 * turn @ c.t + [5.0, -700, 20], f=2 * c.f) for c in cameras]
    assert rig.difference(cameras, moved) == pytest.approx(0, abs=1e-4)
    roll = Rotation.from_euler("z", 7, degrees=True).as_matrix()
    turned = [*cameras[:3], replace(cameras[3], R=roll @ cameras[3].R)]
    assert rig.difference(cameras, turned) == pytest.approx(7, abs=1e-6)
    assert rig.difference(cameras, room.cameras(5, (200, 200))) < 8
    assert rig.difference(cameras, [cameras[n] for n in (1, 0, 2, 3)]) > 15
    assert np.isfinite(rig.difference(cameras[:1] * 2, cameras[:2]))
