"""Families that the package does not know go through everything: `parity_tests.toys`, without an edit elsewhere."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import torch
from flax import nnx
from PIL import Image

from jaxhar import export, infer, port, run, zoo
from jaxhar.checks import doctor, overfit
from jaxhar.cli import main as cli
from jaxhar.evaluation.results import Results
from jaxhar.weights import checkpoint
from parity_tests import toys

EXPERIMENTS = {"toy-clips": toys.clips, "toy-skeletons": toys.skeletons}


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Known to the zoo in this module alone."""
    before = [*zoo.FAMILIES]
    toys.register()
    yield
    zoo.FAMILIES[:] = before


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Each toy trained, evaluated and reported once: name -> its working directory."""
    found = {}
    for name, experiment in EXPERIMENTS.items():
        found[name] = tmp_path_factory.mktemp(name)
        run.run(experiment(), found[name], "train")
    return found


@pytest.fixture(scope="module", params=EXPERIMENTS)
def name(request):
    return request.param


def inputs(name: str, batch: int = 3) -> dict[str, np.ndarray]:
    """What the network reads, of the test split."""
    experiment = EXPERIMENTS[name]()
    whole = next(iter(experiment.data.eval_stream(batch=batch)))
    return {key: np.asarray(whole[key]) for key in experiment.model.reads}


def test_a_killed_run_goes_on_bit_for_bit(name, trained, tmp_path, monkeypatch):
    draw = toys._Stream.__next__

    def killed(stream):
        if stream.position == 3:
            raise MemoryError
        return draw(stream)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(toys._Stream, "__next__", killed)
        run.run(EXPERIMENTS[name](), tmp_path, "train")
    run.run(EXPERIMENTS[name](), tmp_path, "train")
    texts = [(d / "metrics.jsonl").read_text() for d in (trained[name], tmp_path)]
    rows = [[json.loads(row) for row in text.splitlines()] for text in texts]
    for row in (*rows[0], *rows[1]):
        row.pop("steps_per_second", None)
    assert rows[0] == rows[1] and len(rows[0]) == 5
    once, twice = (port.to_flat(checkpoint.load_model(d)[0]) for d in (trained[name], tmp_path))
    jax.tree.map(np.testing.assert_array_equal, once, twice)


def test_the_report_has_its_figures_and_pictures(name, trained):
    found = Results.load(trained[name] / "results.json").scalars()
    page = (trained[name] / "report.html").read_text()
    if name == "toy-clips":
        assert 0 < found["reconstruction"] < 5 and "Reconstruction" in page
        assert list((trained[name] / "pictures").glob("reconstruction*"))
    else:
        assert 0 <= found["accuracy/single"] <= 1 and "rise" in page


def test_infer_in_pieces_is_infer_at_once(name, trained):
    model, _ = checkpoint.load_model(trained[name])
    given = inputs(name)
    whole, pieces = infer(model, given), infer(model, given, chunk=1)
    assert set(whole) == set(model.config.predicts)
    for key, value in whole.items():
        assert value.shape[:2] == (1, 3)
        np.testing.assert_allclose(value, pieces[key], atol=1e-5)
    if name == "toy-skeletons":
        np.testing.assert_allclose(whole["action"].sum(-1), 1, rtol=1e-6)
        with pytest.raises(ValueError, match="reads points, score"):
            infer(model, given["points"])


def test_an_exported_file_gives_the_same(name, trained, tmp_path):
    apart = export.run(trained[name], tmp_path / "net.jax", "jax")
    assert set(apart) == set(EXPERIMENTS[name]().model.predicts) and max(apart.values()) < 1e-5
    with pytest.raises(Exception, match="twin|PyTorch"):
        export.run(trained[name], tmp_path / "net.onnx", "onnx")


def test_weights_go_to_pytorch_and_back(name, trained, tmp_path):
    assert cli.main(["port", str(trained[name]), "--out", str(tmp_path / "net.pth")]) == 0
    back = ["port", str(tmp_path / "net.pth"), "--model", name, "--out", str(tmp_path / "back")]
    assert cli.main(back) == 0
    once, twice = (port.to_flat(checkpoint.load_model(d)[0]) for d in (trained[name], tmp_path / "back"))
    assert once.keys() == twice.keys()
    jax.tree.map(np.testing.assert_array_equal, once, twice)


class Twin(torch.nn.Module):
    """The layers of `toys.SkeletonNet` that are arranged otherwise in PyTorch."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.square = torch.nn.Linear(width, width)
        self.attention = torch.nn.ModuleDict(
            {"qkv": torch.nn.Linear(width, 3 * width), "out": torch.nn.Linear(width, width)}
        )
        self.volume = torch.nn.Conv3d(width // 4, 8, (3, 3, 3), padding="same")
        self.heads = heads

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, width = x.shape
        qkv = self.attention["qkv"](x).reshape(batch, time, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        x = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return self.attention["out"](x.transpose(1, 2).reshape(batch, time, width))


def test_ported_layers_compute_the_same_in_pytorch(trained, tmp_path):
    """A square Linear, a fused qkv and a convolution over space and time, on random input."""
    file = tmp_path / "net.pth"
    assert cli.main(["port", str(trained["toy-skeletons"]), "--out", str(file)]) == 0
    model, _ = checkpoint.load_model(trained["toy-skeletons"])
    twin = Twin(model.config.width, model.config.heads)
    state = torch.load(file, weights_only=True)
    twin.load_state_dict({key: value for key, value in state.items() if key in twin.state_dict()})
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 5, model.config.width)).astype(np.float32)
    volume = rng.standard_normal((2, 4, 5, 3, model.config.width // 4)).astype(np.float32)
    with torch.no_grad():
        pairs = {
            "square": (model.square(x), twin.square(torch.from_numpy(x))),
            "attention": (model.attention(x), twin.attend(torch.from_numpy(x))),
            "volume": (
                model.volume(volume),
                twin.volume(torch.from_numpy(volume).permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1),
            ),
        }
    for layer, (ours, theirs) in pairs.items():
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5, err_msg=layer)


def test_the_zoo_shows_them(name, capsys):
    assert cli.main(["zoo"]) == 0 and name in capsys.readouterr().out
    assert cli.main(["zoo", name]) == 0
    page = capsys.readouterr().out
    assert ("patches" in page and "12 x 8" in page) if name == "toy-clips" else ("points, score" in page)
    model = zoo.create(zoo.tiny(name), rngs=nnx.Rngs(0))
    assert type(model.config) is type(EXPERIMENTS[name]().model)


def test_samples_are_learned_by_heart(name, tmp_path, capsys):
    result = overfit.run(EXPERIMENTS[name](), steps=400, out=tmp_path, workdir=tmp_path)
    assert result.passed and result.picture is None and not list(tmp_path.iterdir())
    assert set(result.figures) == ({"reconstruction"} if name == "toy-clips" else {"accuracy/single"})
    assert "samples to learn by heart: train0, train1" in capsys.readouterr().out


def test_the_truth_scores_full_marks(name, tmp_path):
    findings = doctor.examine(EXPERIMENTS[name](), tmp_path, 4, out=tmp_path)
    wrong = [f"{where}, {finding.check}: {finding.found}" for where, finding in findings if not finding.passed]
    assert not wrong and not list(tmp_path.glob("*.png"))
    checks = {finding.check for _, finding in findings}
    assert checks >= {"splits", "batch", "scores of the truth", "losses of the truth", "gradients", "network", "names"}


@dataclasses.dataclass(frozen=True)
class Shifted(toys.Reconstruction):
    """A loss that does not compare with what the network saw."""

    def __call__(self, preds, batch):
        return super().__call__({"patches": preds["patches"] + 0.1}, batch)


def test_a_planted_mistake_is_found(tmp_path):
    findings = doctor.examine(dataclasses.replace(toys.clips(), losses=Shifted()), tmp_path, 4)
    assert [finding.check for _, finding in findings if not finding.passed] == ["losses of the truth"]
    wrong = dataclasses.replace(toys.skeletons(), model=toys.SkeletonConfig(labels=5))
    failed = {finding.check for _, finding in doctor.examine(wrong, tmp_path, 4) if not finding.passed}
    assert failed == {"network", "names"}


def test_what_makes_no_sense_is_a_sentence(trained, name, tmp_path, capsys):
    Image.new("RGB", (32, 24)).save(tmp_path / "photo.png")
    weights = ["--weights", str(trained[name])]
    assert cli.main(["predict", str(tmp_path / "photo.png"), *weights, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and "pose" in said
    folder = tmp_path / "mine"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        (folder / label / "1.jpg").write_bytes(b"")
    assert cli.main(["finetune", str(folder), *weights, "--out", str(tmp_path / "tuned")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: ") and f"family {name}" in said
