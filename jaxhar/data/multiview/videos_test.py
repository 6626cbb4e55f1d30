"""Generated videos of four cameras, with a calibration that fits to the pictures."""

import json

import numpy as np

from jaxhar.data.formats import calibration
from jaxhar.data.formats.source import open_source
from jaxhar.data.generate.film import Synth
from jaxhar.data.multiview import videos


def test_the_person_is_where_the_calibration_puts_it(tmp_path):
    out = tmp_path / "films"
    synth = Synth(1, 1, 1, 1, frames=(4, 4), size=(160, 120), seed=2, clutter=0.0)
    videos.write(out, synth, progress=False)
    rig = calibration.read([out / "cameras.json"])
    assert rig.sizes == ((160, 120),) * 4 and rig.notes == ()
    shown, joints = [], []
    for name in ("train_00", "test_00"):
        joints.append(np.array(json.loads((out / name / "truth.json").read_text())["frames"]))
        sources = [open_source(out / name / f"{camera}.mp4") for camera in rig.names]
        assert [source.total for source in sources] == [4] * 4 and sources[0].fps == videos.FPS
        shown.append(np.array([next(iter(source.frames())).image for source in sources], float))
    moved = np.abs(shown[0] - shown[1]).max(-1) > 40  # a camera's background is the same in both
    for n, camera in enumerate(rig.cameras):
        x, y = np.floor(camera.project(joints[0][0])[:, :2]).astype(int).T
        inside = (x >= 0) & (x < 160) & (y >= 0) & (y < 120)
        assert inside.mean() > 0.9
        assert moved[n, y[inside], x[inside]].mean() > 0.6 > 0.3 > moved[n].mean()
    time = (out / "cameras.json").stat().st_mtime_ns
    videos.write(out, synth, progress=False)
    assert (out / "cameras.json").stat().st_mtime_ns == time
