"""Clips of a video to predict are those of the data set that networks are trained on."""

from dataclasses import replace

import numpy as np
import pytest

from jaxhar.data import clips
from jaxhar.data.formats.video import Video
from jaxhar.data.generate.film import Synth
from jaxhar.data.kinetics.settings import Kinetics
from jaxhar.predict.clip_reader import Reader, Sampling


@pytest.mark.slow
def test_views_are_those_of_kinetics(tmp_path):
    """By frames and crops; pictures are scaled in another way, which changes them by a grey level or so."""
    settings = Kinetics(clip_frames=8, image_size=32, clips_per_batch=4, timeout=0)
    settings.generate(tmp_path / "set", Synth(1, 1, 1, 1, frames=(70, 90), size=(96, 64), clutter=0.0))
    data = replace(settings, root=str(tmp_path / "set"), cache=str(tmp_path / "cache")).prepare(tmp_path)
    (batch,) = data.eval_stream(view="multi", batch=30)
    (path,) = (tmp_path / "set").glob("val/**/*.mp4")
    video = Video(path)
    times, fps = np.array([frame.time for frame in video.frames(every=0)]), float(video.fps)
    windows = Sampling(8, clips.span(8, settings.rate, fps), fps).spread(times, settings.clips)
    (found,) = Reader((32, 32), settings.clips, three=True).read(video, windows)
    frames = found.frames.reshape(-1, *found.frames.shape[2:]).astype(float)
    apart = np.abs(frames - batch["frames"]).mean((1, 2, 3, 4))
    assert apart.shape == (30,) and apart.max() < 2, apart
    assert np.abs(frames - np.roll(batch["frames"], 1, axis=0)).mean() > 5, "other views are told apart"
