import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from jaxhar import inference, port, zoo
from jaxhar.cli import main as cli
from jaxhar.core.batch import to_image
from jaxhar.core.skeleton import MPII, PA16, PA17
from jaxhar.data.generate.film import Synth
from jaxhar.data.mpii import generate as synthetic_mpii
from jaxhar.data.mpii import settings as mpii
from jaxhar.data.mpii import submission as mpii_submission
from jaxhar.data.penn import generate as penn_generate
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.weights import checkpoint

CONFIG = ReceptionConfig.tiny()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("net")
    rng = np.random.default_rng(0)
    # positive numbers serve as weights and as variances; this spares the compilation of the initialisers
    flat = {leaf: rng.uniform(0.01, 0.1, shape).astype(np.float32) for leaf, shape in port.shapes(CONFIG).items()}
    checkpoint.save_model(path, port.from_flat(flat, CONFIG), PA16, ())
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "mpii"
    synthetic_mpii.write(out, Synth(20, 4, 4, 2, size=(96, 72), seed=6, clutter=0.2), progress=False)
    return out


def run(*words):
    return cli.main([str(word) for word in words])


def test_mpii_to_coco_and_to_the_benchmark(root, weights, tmp_path, capsys):
    words = ("predict", root, "--data", "mpii", "--weights", weights, "--no-progress", "--cache", tmp_path / "cache")
    assert run(*words, "--out", tmp_path / "valid") == 0
    assert [p.name for p in (tmp_path / "valid").iterdir()] == ["coco.json"]
    found = json.loads((tmp_path / "valid" / "coco.json").read_text())
    persons = [p for p in mpii.read(root) if p.split == "valid" and p.separate]
    names = {image["id"]: image["file_name"] for image in found["images"]}
    assert [names[a["image_id"]] for a in found["annotations"]] == [p.image.name for p in persons]
    model, _ = checkpoint.load_model(weights)
    for person, annotation in zip(persons, found["annotations"], strict=True):
        example = mpii.to_example(person, size=CONFIG.image_size)
        pose = inference.infer(model, example["frames"][None])["pose"][-1, 0, 0].astype(float)
        pixels = to_image(example["affine"], pose[None])[0]
        keypoints = np.reshape(annotation["keypoints"], (17, 3))
        wrist = found["categories"][0]["keypoints"].index("left_wrist")
        np.testing.assert_allclose(keypoints[wrist, :2], pixels[PA16.index("l_wrist")], atol=0.02)

    assert run(*words, "--out", tmp_path / "test", "--split", "test", "--protocol", "flip") == 0
    assert "pred_keypoints_mpii.mat" in capsys.readouterr().out
    pred = loadmat(tmp_path / "test" / mpii_submission.FILE, squeeze_me=True, struct_as_record=False)["pred"]
    coco = json.loads((tmp_path / "test" / "coco.json").read_text())
    first = next(p for p in mpii.read(root) if p.split == "test" and p.separate)
    rect = np.atleast_1d(np.atleast_1d(pred)[0].annorect)[first.place[1]]
    point = rect.annopoints.point[MPII.index("l_wrist")]
    keypoints = np.reshape(coco["annotations"][0]["keypoints"], (17, 3))
    wrist = coco["categories"][0]["keypoints"].index("left_wrist")
    np.testing.assert_allclose([point.x, point.y], keypoints[wrist, :2], atol=0.006)


def test_frames_of_clips_are_named(weights, tmp_path):
    root = tmp_path / "penn"
    penn_generate.write(root, Synth(1, 2, 1, 1, frames=(3, 4), size=(64, 48)), progress=False)
    words = ("predict", root, "--data", "penn", "--weights", weights, "--no-progress", "--out", tmp_path / "out")
    assert run(*words) == 0
    found = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [image["file_name"][:5] for image in found["images"]] == ["0002/", "0003/"]
    assert run(*words, "--protocol", "multi") == 2
    assert run(*words, "--split", "valid") == 2


def test_coco_beside_the_usual_files(weights, tmp_path):
    for name in ("a", "b"):
        Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(tmp_path / f"{name}.png")
    words = ("predict", tmp_path, "--weights", weights, "--no-progress", "--out", tmp_path / "out")
    assert run(*words, "--format", "coco") == 0
    found = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [image["file_name"] for image in found["images"]] == ["a.png", "b.png"]
    assert found["images"][0]["width"] == 80
    content = json.loads((tmp_path / "out" / "poses.json").read_text())
    (person,) = content["frames"][1]["persons"]
    keypoints = np.reshape(found["annotations"][1]["keypoints"], (17, 3))
    ankle = found["categories"][0]["keypoints"].index("right_ankle")
    assert keypoints[ankle, :2].tolist() == person["joints"][content["skeleton"]["joints"].index("r_ankle")]


def test_of_several_sets_of_labels_the_first_is_shown(tmp_path):
    net = zoo.create(replace(zoo.tiny("spnet-ntu"), num_levels=2, num_frames=1, num_actions=(2, 3)))
    checkpoint.save_model(tmp_path / "net", net, PA17, (("run", "jump"), ("sit", "lie", "stand")))
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(tmp_path / "a.png")
    words = ("--weights", tmp_path / "net", "--no-progress", "--out", tmp_path / "out")
    assert run("predict", tmp_path / "a.png", *words) == 0
    header = (tmp_path / "out" / "actions.csv").read_text().splitlines()[0]
    assert header.endswith("run,jump")
