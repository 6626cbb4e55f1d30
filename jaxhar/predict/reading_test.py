"""`jaxhar predict` on videos as people have them: recordings of browsers, files that break off."""

import argparse
import itertools
import json
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import jsonschema
import numpy as np
import pytest

from jaxhar import port, zoo
from jaxhar.cli import predict as predict_command
from jaxhar.core import classes as actions
from jaxhar.core.skeleton import PA20
from jaxhar.host.errors import Problem
from jaxhar.predict.predictor_test import draw, go, joints_of, path_of
from jaxhar.weights import checkpoint


def write(path: Path, ticks: list[int], base: Fraction, nominal: Fraction, codec: str = "libx264") -> Path:
    size = (320, 240)
    options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {"live": "1"}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=nominal, options={"preset": "veryfast"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = base
        for tick, centre in zip(ticks, path_of(len(ticks)), strict=True):
            frame = av.VideoFrame.from_ndarray(draw(centre, size), format="rgb24")
            frame.pts, frame.time_base = tick, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_recording_of_a_browser_is_as_good_as_a_file_of_a_camera(tmp_path: Path):
    """Its header says 1000 frames a second; boxes are looked for eight times a second all the same."""
    steps = random.Random(0).choices([31, 33, 34, 35, 36, 50], k=59)
    ticks = list(itertools.accumulate(steps, initial=0))
    camera = write(tmp_path / "a.mp4", list(range(60)), Fraction(1, 28), Fraction(28))
    browser = write(tmp_path / "b.webm", ticks, Fraction(1, 1000), Fraction(1000), "libvpx")
    runs = {path.name: go(path, tmp_path / path.stem, 8)[1] for path in (camera, browser)}
    assert runs["a.mp4"]["fps"] == 28 and abs(runs["b.webm"]["fps"] - 59e3 / ticks[-1]) < 0.5
    found = {name: np.stack([joints_of(frame) for frame in run["frames"]]) for name, run in runs.items()}
    assert np.abs(found["a.mp4"] - found["b.webm"]).max() < 3
    np.testing.assert_allclose([frame["time"] for frame in runs["b.webm"]["frames"]], np.array(ticks) / 1000, atol=2e-3)


def test_from_the_command_line_a_whole_video_and_one_that_breaks_off(tmp_path: Path, capsys):
    """What could be read of the second is written, and the end says what is missing."""
    config = replace(zoo.tiny("reception-ntu"), num_frames=4)
    rng = np.random.default_rng(0)
    # positive numbers serve as weights and as variances; this spares the compilation of the initialisers
    flat = {leaf: rng.uniform(0.01, 0.1, shape).astype(np.float32) for leaf, shape in port.shapes(config).items()}
    checkpoint.save_model(tmp_path / "net", port.from_flat(flat, config), PA20, actions.NTU)
    source = write(tmp_path / "a.mp4", list(range(30)), Fraction(1, 28), Fraction(28))
    parser = argparse.ArgumentParser()
    predict_command.add_arguments(parser)
    words = [str(source), "--weights", str(tmp_path / "net"), "--out", str(tmp_path / "out"), "--no-progress"]
    assert predict_command.main(parser.parse_args(words)) == 0
    poses = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert len(poses["frames"]) == 30 and poses["skeleton"]["joints"] == list(PA20.joints)
    assert np.shape(poses["frames"][0]["persons"][0]["joints"]) == (20, 3)
    jsonschema.validate(poses, json.loads((Path(__file__).parents[2] / "docs" / "poses.schema.json").read_text()))
    assert poses["made_by"]["settings"]["stride"] == 2 and poses["made_by"]["versions"]["jaxhar"]
    said = capsys.readouterr()
    assert "30 frames in" in said.out and f"action: {poses['tracks'][0]['action']}" in said.out
    assert "not all could be read" not in said.err

    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 3 // 4])
    for more, code in (([], 1), (["--skip-broken"], 0)):
        assert predict_command.main(parser.parse_args([*words, *more])) == code
        frames = json.loads((tmp_path / "out" / "poses.json").read_text())["frames"]
        said = capsys.readouterr()
        assert 5 < len(frames) < 30 and f"{len(frames)} frames in" in said.out
        assert f"not all could be read: {source}: the video" in said.err and "30" in said.err
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as overlay:
        assert overlay.streams.video[0].frames == len(frames)
    source.write_bytes(data[: data.index(b"mdat") + 8])
    with pytest.raises(Problem, match="a.mp4: no frame of this video can be decoded: .* 30"):
        predict_command.main(parser.parse_args(words))
