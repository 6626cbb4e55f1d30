"""A family of the user's own, registered here: its weights go to PyTorch's names and layouts and back."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from jaxhar import infer, port, zoo
from jaxhar.core.family import LAYERS, Entry, Family, Kind, Rule, Transfer
from jaxhar.core.pixels import Pixels
from jaxhar.host.errors import Problem, Usage
from jaxhar.weights import checkpoint, forms
from jaxhar.weights.net import Net
from jaxhar.weights.state_dict import read_pth
from jaxhar.weights.torch import arrange, restore, save_pth, twin_network

WIDTH, HEADS, TOKENS = 6, 2, 8


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    """Clips of 4 frames of 8 x 8 pixels, 3 classes, no joints."""

    reads: ClassVar[tuple[str, ...]] = ("frames",)
    predicts: ClassVar[tuple[str, ...]] = ("action",)
    pixels: ClassVar[Pixels] = Pixels.KINETICS
    frames_apart: ClassVar[bool] = False
    pose_shape: ClassVar[tuple[int, int] | None] = None

    num_classes: int = 3
    strides: tuple[int, ...] = (2, 4, 4)

    @property
    def classes(self):
        return (self.num_classes,)

    def inputs(self, batch, frames=None):
        return {"frames": jax.ShapeDtypeStruct((batch, frames or 4, 8, 8, 3), jnp.float32)}


class QKV(nnx.Module):
    """Queries, keys and values of all heads: (B, N, C) -> (B, N, 3, heads, width)."""

    def __init__(self, rngs):
        shape = 3, HEADS, WIDTH // HEADS
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (WIDTH, *shape)) / 2)
        self.bias = nnx.Param(jax.random.normal(rngs.params(), shape) / 2)

    def __call__(self, x):
        return jnp.einsum("bnc,cshw->bnshw", x, self.kernel[...]) + self.bias[...]


class Toy(nnx.Module):
    """A transformer of one block on cubes of a clip."""

    def __init__(self, config, *, dtype=jnp.float32, rngs):
        self.config = config
        self.cubes = nnx.Conv(3, WIDTH, config.strides, strides=config.strides, padding="VALID", rngs=rngs)
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (1, TOKENS, WIDTH)))
        self.qkv = QKV(rngs)
        self.project = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.norm = nnx.LayerNorm(WIDTH, epsilon=1e-6, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.head = nnx.Linear(WIDTH, config.num_classes, rngs=rngs)

    def __call__(self, batch):
        x = self.cubes(self.config.pixels(batch))
        x = x.reshape(len(x), -1, WIDTH) + self.positions[...]
        q, k, v = jnp.moveaxis(self.qkv(x), 2, 0)
        weights = jax.nn.softmax(jnp.einsum("bnhw,bmhw->bhnm", q, k) / (WIDTH // HEADS) ** 0.5)
        x = x + self.dropout(self.project(jnp.einsum("bhnm,bmhw->bnhw", weights, v).reshape(x.shape)))
        return {"action": self.head(self.norm(x).mean(1))[None]}


class TorchToy(nn.Module):
    """The same with the names and layouts of published video transformers."""

    def __init__(self):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, TOKENS, WIDTH))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, WIDTH, (2, 4, 4), (2, 4, 4))})
        self.attn = nn.ModuleDict({"qkv": nn.Linear(WIDTH, 3 * WIDTH), "proj": nn.Linear(WIDTH, WIDTH)})
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, frames):
        x = self.patch_embed["proj"](frames.permute(0, 4, 1, 2, 3)).flatten(2).transpose(1, 2) + self.pos_embed
        q, k, v = self.attn["qkv"](x).reshape(len(x), TOKENS, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5).softmax(-1)
        x = x + self.attn["proj"]((weights @ v).transpose(1, 2).flatten(2))
        return self.head(self.norm(x).mean(1)).softmax(-1)


TABLE = (
    Rule(r"positions", "pos_embed", Kind.EMBEDDING),
    Rule(r"cubes\.kernel", "patch_embed.proj.weight", Kind.CONV),
    Rule(r"cubes\.bias", "patch_embed.proj.bias", Kind.NORM),
    Rule(r"qkv\.kernel", "attn.qkv.weight", Kind.QKV),
    Rule(r"qkv\.bias", "attn.qkv.bias", Kind.QKV),
    Rule(r"project\.kernel", "attn.proj.weight", Kind.LINEAR),
    Rule(r"project\.bias", "attn.proj.bias", Kind.NORM),
    *LAYERS,
)
FAMILY = Family(
    "toy",
    ToyConfig,
    Toy,
    {"toy-kinetics": Entry(ToyConfig(), actions=("run", "jump", "sit"))},
    table=lambda config: TABLE,
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(zoo, "FAMILIES", list(zoo.FAMILIES))
    zoo.register(FAMILY)


@pytest.fixture
def model(registered):
    rng = np.random.default_rng(0)
    shapes = port.shapes(ToyConfig()).items()
    return port.from_flat({name: rng.normal(size=shape).astype(np.float32) / 2 for name, shape in shapes}, ToyConfig())


def test_torch_gives_the_same_from_our_weights_and_they_come_back(model, tmp_path):
    loaded = forms.Loaded(model, checkpoint.Meta(*zoo.labels(zoo.entry("toy-kinetics"), ToyConfig()), ToyConfig()))
    forms.save(loaded, tmp_path / "toy.pth")
    net = TorchToy()
    net.load_state_dict(torch.load(tmp_path / "toy.pth", weights_only=True))
    clips = np.random.default_rng(0).uniform(-2, 2, (3, 4, 8, 8, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = net(torch.from_numpy(clips)).numpy()
    np.testing.assert_allclose(infer(model, clips)["action"][0], theirs, atol=1e-5)

    back = forms.load(tmp_path / "toy.pth", "toy-kinetics")
    assert back.meta == loaded.meta and back.meta.skeleton is None and back.meta.actions == ("run", "jump", "sit")
    ours, again = port.to_flat(model), port.to_flat(back.model)
    assert ours.keys() == again.keys() and not any("rngs" in name for name in ours)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, again[name], err_msg=name)


def test_a_state_dict_that_does_not_fit_says_why(model):
    state = port.to_torch(port.to_flat(model), ToyConfig())
    assert port.read_torch({**state, "bn.num_batches_tracked": np.zeros(1)}, ToyConfig())[1] == []
    for change, reason in (
        ({"more": np.zeros(2)}, "left over: more"),
        ({"attn.qkv.weight": np.zeros((6, 18), np.float32)}, r"wrong shape: attn.qkv.weight is \(6, 18\)"),
        (
            {"patch_embed.proj.weight": np.zeros((6, 3, 4, 4))},
            r"wrong shape: patch_embed.proj.weight is \(6, 3, 4, 4\)",
        ),
    ):
        with pytest.raises(Problem, match=reason):
            port.from_torch({**state, **change}, ToyConfig())
    with pytest.raises(Problem, match="missing: head.bias"):
        port.from_torch({name: array for name, array in state.items() if name != "head.bias"}, ToyConfig())
    wide = {**state, "head.weight": np.zeros((5, 6), np.float32)}
    with pytest.raises(Problem, match=r"head.kernel is \(6, 5\), expected \(6, 3\)"):
        port.from_flat(port.from_torch(wide, ToyConfig()), ToyConfig())


def test_a_weight_without_a_rule_is_named(model):
    zoo.register(dataclasses.replace(FAMILY, table=lambda config: LAYERS))
    with pytest.raises(Problem, match="no rule for the weight positions"):
        port.to_torch(port.to_flat(model), ToyConfig())
    zoo.register(dataclasses.replace(FAMILY, table=lambda config: (Rule(".*", "same", Kind.NORM),)))
    with pytest.raises(Problem, match="both have the PyTorch name same"):
        port.to_torch(port.to_flat(model), ToyConfig())
    zoo.register(dataclasses.replace(FAMILY, table=lambda config: (Rule(r"(.*)", r"\1", Kind.QKV),)))
    with pytest.raises(Problem, match="cannot be of the kind qkv"):
        port.to_torch(port.to_flat(model), ToyConfig())


@pytest.mark.parametrize(
    ("kind", "ours", "theirs"),
    [
        (Kind.CONV, (5, 2, 3), (3, 2, 5)),
        (Kind.CONV, (5, 4, 2, 3), (3, 2, 5, 4)),
        (Kind.CONV, (5, 4, 6, 2, 3), (3, 2, 5, 4, 6)),
        (Kind.LINEAR, (2, 3), (3, 2)),
        (Kind.DECONV, (5, 4, 3, 2), (2, 3, 5, 4)),
        (Kind.DEPTHWISE, (5, 4, 3, 1), (3, 1, 5, 4)),
        (Kind.DEPTHWISE, (5, 4, 6, 3, 2), (6, 1, 5, 4, 6)),
        (Kind.QKV, (4, 3, 2, 5), (30, 4)),
        (Kind.QKV, (3, 2, 5), (30,)),
        (Kind.EMBEDDING, (2, 3), (2, 3)),
        (Kind.NORM, (4,), (4,)),
    ],
)
def test_every_kind_goes_there_and_back(kind, ours, theirs):
    array = np.arange(np.prod(ours)).reshape(ours)
    there = arrange(array, kind)
    assert there.shape == theirs
    np.testing.assert_array_equal(restore(there, kind, ours), array)


def test_a_transposed_convolution_with_several_multipliers_is_torchs():
    """Deconvolution and depthwise convolution against PyTorch's own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 5, 5, 2)).astype(np.float32)
    kernel = rng.normal(size=(2, 2, 3, 2)).astype(np.float32)  # (rows, columns, out, in)
    ours = jax.lax.conv_transpose(x, kernel, (2, 2), "VALID", transpose_kernel=True)
    net = nn.functional.conv_transpose2d(
        torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(arrange(kernel, Kind.DECONV).copy()), stride=2
    )
    np.testing.assert_allclose(ours, net.permute(0, 2, 3, 1), atol=1e-5)


def test_checkpoints_hold_no_joints_and_tuples_come_back(model, tmp_path):
    checkpoint.save_model(tmp_path / "m", model, None, ())
    assert '"skeleton": null' in (tmp_path / "m" / "model.json").read_text()
    loaded, meta = checkpoint.load_model(tmp_path / "m")
    assert meta == checkpoint.Meta(None, (), ToyConfig())
    assert type(loaded.dropout.rngs.count[...].item()) is int
    with pytest.raises(Problem, match="predicting poses makes no sense here"):
        meta.joints("predicting poses")


def test_a_file_of_a_family_that_is_not_registered_names_the_option(model, tmp_path, monkeypatch):
    checkpoint.save_model(tmp_path / "m.safetensors", model, None, ())
    monkeypatch.setattr(zoo, "FAMILIES", [f for f in zoo.FAMILIES if f.name != "toy"])
    with pytest.raises(Problem, match=r"m.safetensors: it is of the family of networks 'toy'.*--import MODULE"):
        checkpoint.load_model(tmp_path / "m.safetensors")
    for use in (zoo.create, zoo.multiply_adds, zoo.family, port.shapes):
        with pytest.raises(Problem, match=r"ToyConfig.*reception, spnet.*zoo\.register.*--import"):
            use(ToyConfig(num_classes=17))


def test_what_may_not_be_registered():
    other = dataclasses.make_dataclass("Other", [], frozen=True)
    with pytest.raises(Usage, match="a family named 'spnet' already"):
        zoo.register(dataclasses.replace(FAMILY, name="spnet"))
    with pytest.raises(Usage, match="ToyConfig belong to another family"):
        zoo.register(dataclasses.replace(FAMILY, name="mine", entries={}))
    with pytest.raises(Usage, match="a network named 'toy-kinetics' already"):
        zoo.register(dataclasses.replace(FAMILY, name="mine", config=other))
    zoo.register(FAMILY)  # a module that is imported twice
    assert zoo.names().count("toy-kinetics") == 1


def test_what_the_family_does_not_have_is_a_sentence(model, tmp_path):
    with pytest.raises(Problem, match="no Keras form of networks of the family toy"):
        port.save_keras(tmp_path / "toy.h5", port.to_flat(model), ToyConfig())
    with pytest.raises(Problem, match="toy have no PyTorch twin"):
        twin_network(ToyConfig())
    with pytest.raises(Problem, match="toy have no trunk"):
        zoo.trunk_frozen(ToyConfig())


def test_a_file_starts_part_of_a_network_by_its_table(model):
    """A rename, heads that stay fresh, parts that are left over; all else must fit."""
    table = Transfer(renames=((r"encoder\.(.*)", r"\1"),), fresh=(r"head\..*",), unused=(r"decoder\..*",))
    given = port.to_flat(model)
    source = {f"encoder.{name}": array for name, array in given.items() if not name.startswith("head.")}
    source |= {"decoder.kernel": np.zeros(2), "head.kernel": np.zeros((6, 9))}
    net = Net(port.from_flat({name: array + 1 for name, array in given.items()}, ToyConfig()))
    assert net.load(source, "the file", table) == ["head.bias", "head.kernel"]
    np.testing.assert_array_equal(net.params["qkv.kernel"], given["qkv.kernel"])
    for change, reason in (
        ({"encoder.more": np.zeros(1)}, "left over: encoder.more"),
        ({"encoder.norm.scale": np.zeros(7)}, r"wrong shape: norm.scale is \(7,\)"),
        ({"norm.scale": given["norm.scale"]}, "two weights for norm.scale"),
    ):
        with pytest.raises(Problem, match=f"the file.*{reason}"):
            net.load(source | change, "the file", table)
    del source["encoder.norm.scale"]
    with pytest.raises(Problem, match="missing: norm.scale"):
        net.load(source, "the file", table)
    with pytest.raises(Problem, match="does not fit the file"):
        net.load(source, "the file")


def test_state_dicts_need_nothing_but_torch(model, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch_ref", None)
    state = port.to_torch(port.to_flat(model), ToyConfig())
    save_pth(state, tmp_path / "toy.pth")
    again = read_pth(tmp_path / "toy.pth").arrays
    assert state.keys() == again.keys()
