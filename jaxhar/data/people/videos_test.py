"""Generated videos of two persons who do different things."""

import json

import numpy as np

from jaxhar.core import classes
from jaxhar.data.formats.video import Video
from jaxhar.data.generate.film import Synth
from jaxhar.data.people import videos
from jaxhar.predict.box_files import BoxFile

SYNTH = Synth(2, 1, 2, 2, frames=(4, 6), size=(240, 160), clutter=0.0)


def test_both_persons_are_in_the_picture(tmp_path):
    videos.write(tmp_path / "films", SYNTH, progress=False)
    for name in ("0001", "0002", "0003"):
        video = Video(tmp_path / "films" / f"{name}.mp4")
        truth = json.loads((tmp_path / "films" / f"{name}.json").read_text())
        assert video.total == len(truth["frames"]) and truth["actions"].keys() == {"1", "2"}
        assert len(set(truth["actions"].values())) == 2 and {*truth["actions"].values()} <= {*classes.PENN}
        for frame in truth["frames"]:
            left, right = (np.array(frame[who]) for who in "12")
            assert left[:, 0].mean() < 120 < right[:, 0].mean()
            inside = [((one > 0) & (one < (240, 160))).all(-1).mean() for one in (left, right)]
            assert min(inside) > 0.8, inside
        boxes = BoxFile(tmp_path / "films" / f"{name}.txt")
        assert boxes.identified
