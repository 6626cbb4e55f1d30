"""A network on the views of one moment: crops, fusion, and for which cameras it is refused."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxhar import zoo
from jaxhar.core.batch import to_image
from jaxhar.core.skeleton import UNION20
from jaxhar.data.formats.source import open_source
from jaxhar.data.formats.writer import VideoWriter
from jaxhar.data.generate import room
from jaxhar.data.transforms import crop_person
from jaxhar.host.errors import Problem
from jaxhar.predict import moments, poses, reconstruct, views
from jaxhar.weights.checkpoint import Meta

FRAMES, NAMES = 3, ("a", "b", "c", "d")
CAMERAS = room.cameras(1, (96, 64))


NETWORK = SimpleNamespace(config=zoo.tiny("multiview-h36m"))


def brightness(model, inputs):
    """In place of a network: coarse pictures as heat maps, and their mean over the views as fused ones."""
    together = isinstance(inputs, dict) and inputs["together"].all()
    frames = inputs["frames"] if isinstance(inputs, dict) else inputs
    coarse = frames.astype(float).mean(-1).reshape(*frames.shape[:2], 16, 4, 16, 4).mean((3, 5)) / 255
    maps = [coarse, np.broadcast_to(coarse.mean(1, keepdims=True), coarse.shape)] if together else [coarse]
    maps = np.stack(maps)[..., None] * np.linspace(0.5, 1, 20)
    pose = np.stack([maps[..., 3, 8, :], maps[..., 9, 4, :]], -1)
    return {"maps": maps, "pose": pose, "visible": maps[..., 5, 5, :]}


@pytest.fixture(autouse=True)
def bright(monkeypatch):
    monkeypatch.setattr(moments, "infer", brightness)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Four videos of noise."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("videos")
    for name in NAMES:
        with VideoWriter(folder / f"{name}.mp4", Fraction(10), 96, 64) as writer:
            blobs = rng.integers(0, 255, (FRAMES, 8, 12, 3), np.uint8).repeat(8, 1).repeat(8, 2)
            for n, image in enumerate(blobs):
                writer.write(image, n / 10)
    return [open_source(folder / f"{name}.mp4") for name in NAMES]


def test_all_views_of_a_moment_are_fused(sources):
    boxes = np.tile([10.0, 4, 66, 60], (len(NAMES), FRAMES, 1))
    boxes[1, :, [0, 2]] += 8.0
    boxes[2, 1] = np.nan  # between its neighbours
    boxes[3] = np.nan  # the whole picture
    together, alone = (
        list(moments.predict(NETWORK, sources, boxes, fuse=fuse, batch=8, progress=False)) for fuse in (True, False)
    )
    assert [(some.first, len(some.pixels)) for some in together] == [(0, 2), (2, 1)]
    crops, affine = [], []
    for source, box in zip(sources, (boxes[0, 0], boxes[1, 0], boxes[2, 0], None), strict=True):
        cut, one = crop_person([frame.image for frame in source.frames()][1], box, 64)
        crops.append(cut)
        affine.append(one)
    frames = np.stack(crops)[None]
    preds = brightness(None, {"frames": frames, "together": np.ones(1, bool)})
    for found, block in ((together, 1), (alone, 0)):
        np.testing.assert_allclose(found[0].affine[1], affine, atol=1e-9)
        np.testing.assert_allclose(found[0].maps[1], preds["maps"][block, 0], atol=1e-9)
        np.testing.assert_allclose(found[0].confidence[1], preds["visible"][block, 0], atol=1e-9)
        pixels = to_image(np.stack(affine), preds["pose"][block, 0])
        np.testing.assert_allclose(found[0].pixels[1], pixels, atol=1e-6)
    assert np.abs(preds["maps"][0] - preds["maps"][1]).max() > 0.1


def test_fused_joints_are_written_beside_those_of_the_single_views(sources, tmp_path):
    box, joints = np.array([10.0, 4, 66, 60]), np.full((20, 2), 9.0)
    given = []
    for name in NAMES:
        persons = [[poses.person(1, box, joints, np.ones(20), UNION20, None)] if n else [] for n in range(FRAMES)]
        frames = [{"index": n, "time": n / 10, "persons": one} for n, one in enumerate(persons)]
        content = {"version": 2, "skeleton": poses.skeleton(UNION20), "fps": 10.0, "frames": frames, "tracks": []}
        (tmp_path / name).mkdir()
        given.append(tmp_path / name / "poses.json")
        given[-1].write_text(poses.dumps(content))
    seen = views.join(views.read(given), [[[0]] * 4], None)
    net = reconstruct.Network(Path("net"), NETWORK, Meta(UNION20, (), NETWORK.config), True, 8, False)
    fused = reconstruct.fused(seen, sources, net)
    assert np.isfinite(fused.pixels).all() and np.ptp(fused.pixels[0], axis=0).max() > 1
    again = views.join(views.read([tmp_path / name / "fused.json" for name in NAMES]), [[[0]] * 4], None)
    assert again.names == NAMES
    np.testing.assert_allclose(again.pixels, fused.pixels, atol=0.01)
    np.testing.assert_allclose(again.confidence, fused.confidence, atol=1e-4)


def test_a_network_knows_its_rig():
    meta = Meta(UNION20, (), NETWORK.config, {"cameras": [camera.to_vector().tolist() for camera in CAMERAS]})
    path = Path("net")
    fuse, said = moments.fusing(meta, path, CAMERAS, False)
    assert fuse and "within 0.0 degrees" in said
    moved = [replace(camera, t=camera.t + 2000) for camera in CAMERAS]
    assert moments.fusing(meta, path, moved, False)[0]
    with pytest.raises(Problem, match="stand otherwise, or for another order of these: directions differ by up to"):
        moments.fusing(meta, path, CAMERAS[::-1], False)
    with pytest.raises(Problem, match="fuses the views of 4 cameras, 3 are given; --other-rig predicts"):
        moments.fusing(meta, path, CAMERAS[:3], False)
    for cameras in (CAMERAS[::-1], CAMERAS[:3]):
        fuse, said = moments.fusing(meta, path, cameras, True)
        assert not fuse and "predicted alone" in said
    fuse, said = moments.fusing(replace(meta, trained=None), path, CAMERAS, False)
    assert fuse and "does not say for which cameras its fusion was trained" in said
    plain = replace(meta, config=replace(NETWORK.config, fusion=False))
    assert moments.fusing(plain, path, CAMERAS[:2], False) == (False, None)
