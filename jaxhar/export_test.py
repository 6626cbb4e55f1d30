"""Artifacts against the live network, and that they run where this package is not."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import nnx

from jaxhar import export, infer, port, zoo
from jaxhar.cli import main as cli
from jaxhar.core.skeleton import COCO, NTU, PA16
from jaxhar.core.volume import COCO_LIMBS
from jaxhar.models.poseconv.network import PoseConvConfig
from jaxhar.models.reception.network import ReceptionConfig
from jaxhar.models.skeleton.network import SkeletonTransformerConfig
from jaxhar.nn.layers import ConvNorm, Norm, SeparableNorm
from jaxhar.weights import checkpoint
from parity_tests import cases

SMALL = {"image_size": 32, "num_blocks": 1, "width": 8, "stem_width": 2, "num_context": 0}
STILLS = ReceptionConfig(**SMALL, num_joints=5)
CLIPS = ReceptionConfig(**SMALL, num_frames=3, num_actions=4, pose_stream_width=14, visual_stream_width=8)


def network(config):
    return port.from_flat(cases.seeded_weights(config), config)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, config in {"stills": STILLS, "clips": CLIPS}.items():
        entry = zoo.entry("reception-penn" if config.num_actions else "reception-mpii")
        checkpoint.save_model(folder / name, network(config), *zoo.labels(entry, config))
    return folder


def frames(batch, config):
    rng = np.random.default_rng(batch)
    length = (config.num_frames,) if config.num_frames else ()
    return rng.uniform(-1, 1, (batch, *length, 32, 32, 3)).astype(np.float32)


def close(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=5e-6, err_msg=name)


@pytest.mark.parametrize(
    ("config", "layout"),
    [
        (
            PoseConvConfig(base=4, blocks=(1, 1, 1), size=8, eval_size=None, num_frames=4, limbs=COCO_LIMBS),
            COCO,
        ),
        (SkeletonTransformerConfig(num_frames=3, width=8, depth=1, heads=2), NTU),
    ],
)
def test_onnx_of_a_network_on_skeletons(config, layout, tmp_path):
    config = dataclasses.replace(config, num_actions=3)
    checkpoint.save_model(tmp_path / "net", network(config), layout, ("sit", "stand", "run"))
    apart = export.run(tmp_path / "net", tmp_path / "net.onnx", "onnx")
    assert apart.keys() == {"action"} and apart["action"] < 1e-6
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    shapes = {one.name: one.shape for one in session.get_inputs()}
    assert all(shape[0] == "batch" for shape in shapes.values())
    inputs = {key: np.abs(value) for key, value in cases.seeded_inputs(config, 5).items()}
    (found,) = session.run(None, inputs)
    np.testing.assert_allclose(found, infer(network(config), inputs)["action"], atol=1e-6)
    assert found.shape == (1, 5, 3) and np.ptp(found, axis=1).max() > 1e-4, "other skeletons, other answers"
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["joints"]) == list(layout.joints) and json.loads(told["actions"]) == ["sit", "stand", "run"]


def test_folding_leaves_offsets_and_the_same_results():
    model = network(CLIPS)
    before = port.to_flat(model)
    folded, offsets = export.fold(model)
    pairs = [m for _, m in nnx.iter_modules(model) if isinstance(m, ConvNorm | SeparableNorm)]
    assert len(offsets) == len(pairs) > 20
    assert not [m for _, m in nnx.iter_modules(folded) if isinstance(m, Norm)]
    assert not [name for name in port.to_flat(folded) if name.endswith((".mean", ".var"))]
    x = frames(2, CLIPS)
    close(*(jax.jit(lambda x, net=net: dict(net({"frames": x})))(x) for net in (folded, model)))
    for name, array in port.to_flat(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_a_norm_with_a_scale_folds_and_one_before_its_convolution_stays():
    class Both(nnx.Module):
        FOLDS = (("first.conv", "second.norm"),)

        def __init__(self, rngs):
            self.first, self.second = ConvNorm(3, 4, 3, rngs=rngs), ConvNorm(4, 5, rngs=rngs)
            self.first.norm, self.second.norm = Norm(3, scale=True, rngs=rngs), Norm(4, scale=True, rngs=rngs)

        def __call__(self, x):
            return self.second.conv(nnx.relu(self.second.norm(self.first.conv(nnx.relu(self.first.norm(x))))))

    class Order(ConvNorm):
        FOLDS = ()

    rng = np.random.default_rng(0)
    model = Both(nnx.Rngs(0))
    model.first.__class__ = model.second.__class__ = Order
    for _, leaf in nnx.to_flat_state(nnx.state(model)):
        leaf[...] = jax.numpy.asarray(np.exp(0.3 * rng.standard_normal(leaf.shape)), np.float32)
    model.eval()
    folded, offsets = export.fold(model)
    assert offsets == ["second.norm"]
    assert isinstance(folded.first.norm, Norm)
    x = rng.uniform(-1, 1, (2, 6, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5)


def test_jax_runs_without_this_package(folders, tmp_path, capsys):
    out = tmp_path / "new" / "clips.jax"
    assert cli.main(["export", "--format", "jax", "--weights", str(folders / "clips"), "--out", str(out)]) == 0
    assert "largest difference between the file and the network in JAX: action " in capsys.readouterr().out
    code = (
        "import sys\n"
        "sys.modules['jaxhar'] = sys.modules['flax'] = None\n"
        "import numpy as np\n"
        "from jax import export\n"
        f"net = export.deserialize(bytearray(open({str(out)!r}, 'rb').read()))\n"
        f"frames = np.load({str(tmp_path / 'frames.npz')!r})\n"
        "found = {k + n: v for k in frames for n, v in net.call(frames[k]).items()}\n"
        f"np.savez({str(tmp_path / 'found.npz')!r}, **found)\n"
    )
    np.savez(tmp_path / "frames.npz", one=frames(1, CLIPS), three=frames(3, CLIPS))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    for name, batch in (("one", 1), ("three", 3)):
        expected = infer(network(CLIPS), frames(batch, CLIPS))
        close({key: found[f"{name}{key}"] for key in expected}, expected)
    assert sorted(p.name for p in out.parent.iterdir()) == ["clips.jax", "clips.jax.json"]
    about = json.loads(Path(f"{out}.json").read_text())
    assert json.loads(about["joints"]) == list(PA16.joints) and about["frames"] == str(CLIPS.num_frames)


@pytest.mark.parametrize(("name", "config"), [("stills", STILLS), ("clips", CLIPS)])
def test_onnx_runs_for_any_batch_and_has_no_normalisation(name, config, folders, tmp_path, capsys):
    apart = export.run(folders / name, tmp_path / "net.onnx", "onnx")
    assert apart.keys() == ({"pose", "visible", "action"} if config.num_actions else {"pose", "visible"})
    assert max(apart.values()) < 5e-6
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["frames"]
    proto, told = onnx.load(tmp_path / "net.onnx"), session.get_modelmeta().custom_metadata_map
    assert told["ir_version"] == str(proto.ir_version) and told["opset"] == str(proto.opset_import[0].version)
    # the version of the file is one of those whose first reader is known, and the documentation names that reader
    needed = export._RUNTIMES[proto.ir_version]
    assert told["onnxruntime"] == f">={needed}"
    assert f"ONNX Runtime {needed}" in (Path(__file__).parent.parent / "docs" / "weights.md").read_text()
    names = [o.name for o in session.get_outputs()]
    for batch in (1, 3):
        x = frames(batch, config)
        close(dict(zip(names, session.run(None, {"frames": x}), strict=True)), infer(network(config), x))
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert len(json.loads(told["joints"])) == config.num_joints and told["height"] == told["width"] == str(
        config.image_size
    )
    assert told["pixels"] == "signed: RGB float32 from -1 to 1" and "black outside of the image" in told["crop"]
    if config.num_actions:
        text = (Path(__file__).parent.parent / "docs" / "weights.md").read_text()
        (block,) = [b.split("```")[0] for b in text.split("```python\n")[1:] if "onnxruntime" in b]
        pictures = np.random.default_rng(0).integers(0, 256, (config.num_frames, 90, 120, 3), np.uint8)
        exec(block.replace("penn.onnx", str(tmp_path / "net.onnx")), {"images": pictures})
        said = capsys.readouterr().out
        assert said.split("\n")[0] in json.loads(told["actions"]) and "'head': [" in said


def test_what_is_refused(folders, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    stills = str(folders / "stills")
    wrong = {
        ("jax", stills, str(tmp_path)): (1, "is a folder"),
        ("jax", str(tmp_path / "none"), str(tmp_path / "x")): (1, "no model at"),
        ("jax", stills, str(tmp_path / "file" / "x")): (1, "cannot write"),
    }
    for (form, weights, out), (code, sentence) in wrong.items():
        assert cli.main(["export", "--format", form, "--weights", weights, "--out", out]) == code
        assert sentence in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert cli.main(["export", "--format", "onnx", "--weights", stills, "--out", str(tmp_path / "x")]) == 1
    assert "pip install 'jaxhar[export]'" in capsys.readouterr().err
