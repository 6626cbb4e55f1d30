"""Masked autoencoders: what the encoder sees, what the settings refuse, and whose weights fit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from jaxhar import infer, inference, port, zoo
from jaxhar.core import masks
from jaxhar.host.errors import Problem
from jaxhar.models.mae import positions as positions_module
from jaxhar.models.mae.config import ImageClassifierConfig, ImageMaeConfig, MaeConfig, VideoClassifierConfig
from jaxhar.nn.vit import sincos
from jaxhar.weights import transfer

SMALL = {"image_size": 16, "num_frames": 4, "patch": 8, "width": 16, "depth": 1, "heads": 2}
TINY = MaeConfig(**SMALL, pred_frames=2, decoder_width=16, decoder_depth=1, decoder_heads=2, mask_ratio=0.5)
FRAMES = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    return port.from_flat(port.to_flat(zoo.create(TINY)), TINY)


def test_what_is_removed_is_not_seen(model):
    noise = np.random.default_rng(1).random((2, 8), np.float32)
    found = infer(model, {"frames": FRAMES, "noise": noise})
    removed = found["removed"][0].reshape(2, 2, 2, 2).astype(bool)
    hidden = removed.repeat(2, 1).repeat(8, 2).repeat(8, 3)[..., None]
    again = infer(model, {"frames": np.where(hidden, 255 - FRAMES, FRAMES).astype(np.uint8), "noise": noise})
    np.testing.assert_array_equal(again["patches"], found["patches"])
    other = infer(model, {"frames": np.where(hidden, FRAMES, 255 - FRAMES).astype(np.uint8), "noise": noise})
    assert np.abs(other["patches"] - found["patches"]).max() > 1e-3


def test_masks_are_drawn_anew_in_training_and_are_the_same_in_evaluation(model):
    np.testing.assert_array_equal(*(infer(model, FRAMES)["removed"] for _ in range(2)))
    training = zoo.create(TINY)
    first, second = (np.asarray(training.order({"frames": FRAMES}).removed) for _ in range(2))
    assert (first.sum(-1) == 4).all() and not np.array_equal(first, second)


def test_the_encoder_costs_less_the_more_is_removed():
    costs = [zoo.multiply_adds(dataclasses.replace(TINY, mask_ratio=ratio)) for ratio in (0.25, 0.5, 0.75)]
    assert costs[0] > costs[1] > costs[2]


def test_a_temperature_moves_with_the_steps_of_the_training():
    config = dataclasses.replace(
        TINY, masking="directed_v2", temperature=0.0, temperature_end=50.0, temperature_steps=10
    )
    assert config.reads == ("frames", "cover")
    model = port.from_flat(port.to_flat(zoo.create(config)), config)
    cover = np.zeros(FRAMES.shape[:-1], np.float32)
    cover[:, :, :8] = 1
    noise = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]] * 2, np.float32)
    batch = {"frames": FRAMES, "cover": cover, "noise": noise}
    steps = [{"step": jnp.int32(step)} for step in (0, 10, 20)]
    removed = [np.asarray(model.order({**batch, **step}).removed[0]) for step in (*steps, {})]
    np.testing.assert_array_equal(removed[0], [0, 0, 0, 0, 1, 1, 1, 1])
    for later in removed[1:]:  # also where the step is not known
        np.testing.assert_array_equal(later, [1, 1, 0, 0, 1, 1, 0, 0])


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def normed(flat, name, x):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * flat[f"{name}.scale"] + flat[f"{name}.bias"]


def rolled_out(flat, config, frames, pooled):
    """Attention rollout by its definition in NumPy and float64, the whole matrices multiplied: of one clip, (N,)."""
    flat = {name.removeprefix("encoder."): np.asarray(value, np.float64) for name, value in flat.items()}

    def linear(name, x):
        return x @ flat[f"{name}.kernel"].reshape(-1, flat[f"{name}.kernel"].shape[-1]) + flat[f"{name}.bias"]

    steps, side = config.num_frames // config.t_patch, config.image_size // config.patch
    pixels = (frames / 255 - 0.45) / 0.225
    patches = pixels.reshape(steps, config.t_patch, side, config.patch, side, config.patch, 3)
    x = linear("patch_embed", patches.transpose(0, 2, 4, 1, 3, 5, 6).reshape(steps * side**2, -1))
    x += (flat["pos_embed_temporal"][0][:, None] + flat["pos_embed_spatial"][0]).reshape(x.shape)
    if config.cls_token:
        x = np.concatenate([flat["cls_token"][0] + flat["pos_embed_class"][0], x])
    product = np.eye(len(x))
    for block in (f"blocks.{number}" for number in range(config.depth)):
        query, key, value = np.split(linear(f"{block}.attn.qkv", normed(flat, f"{block}.norm1", x)), 3, axis=1)
        width = config.width // config.heads
        parts = [slice(h * width, (h + 1) * width) for h in range(config.heads)]
        heads = [softmax(query[:, one] @ key[:, one].T * width**-0.5) for one in parts]
        product = (0.5 * np.mean(heads, axis=0) + 0.5 * np.eye(len(x))) @ product
        x += linear(
            f"{block}.attn.proj",
            np.concatenate([head @ value[:, one] for head, one in zip(heads, parts, strict=True)], 1),
        )
        inner = linear(f"{block}.mlp.fc1", normed(flat, f"{block}.norm2", x))
        x += linear(f"{block}.mlp.fc2", inner * 0.5 * (1 + special.erf(inner / 2**0.5)))
    return (pooled @ product)[int(config.cls_token) :]


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({}, 1),
        pytest.param({"cls_token": False, "pool": "covered"}, 0, marks=pytest.mark.slow),
        pytest.param({"pool": "class"}, 1, marks=pytest.mark.slow),
    ],
)
def test_attention_rollout_is_that_of_its_definition(changes, left_out):
    config = VideoClassifierConfig(**SMALL | {"depth": 3}, num_actions=3, **changes)
    flat = {name: 3 * value for name, value in port.to_flat(zoo.create(config)).items()}  # clear attention
    batch = {"frames": FRAMES[:1]}
    pooled = np.r_[np.zeros(left_out), np.full(8, 1 / 8)]
    if changes == {"pool": "class"}:
        pooled = np.eye(9)[0]
    elif changes:
        batch["cover"] = np.zeros((1, 4, 16, 16), np.float32)
        batch["cover"][:, :2, :8] = 1
        pooled = np.array([0.5, 0.5, 0, 0, 0, 0, 0, 0])
    found = inference.shows(port.from_flat(flat, config), batch)["rollout"]
    assert found.shape == (1, 2, 2, 2) and found.max() > 1.2 * found.min()
    np.testing.assert_allclose(found.ravel(), rolled_out(flat, config, FRAMES[0], pooled), rtol=1e-4)


def test_the_share_of_removed_tokens_moves_with_the_steps_of_the_training(model):
    """Each step is that of a network with a constant share."""
    schedule = {"mask_schedule": "cosine", "mask_ratio": 0.25, "mask_ratio_end": 0.75, "mask_steps": 10}
    config = dataclasses.replace(TINY, **schedule)
    noise = np.random.default_rng(1).random((2, 8), np.float32)
    batch = {"frames": FRAMES, "noise": noise}
    moving = port.from_flat(port.to_flat(model), config)
    run = jax.jit(lambda batch: moving(batch))
    assert config.kept == 6
    for step, ratio in ((None, 0.75), (0, 0.25), (5, 0.5), (10, 0.75), (20, 0.75)):
        found = run(batch if step is None else {**batch, "step": jnp.int32(step)})
        constant = port.from_flat(port.to_flat(model), dataclasses.replace(TINY, mask_ratio=ratio))
        expected = infer(constant, batch)
        np.testing.assert_array_equal(found["removed"], expected["removed"])
        np.testing.assert_allclose(found["patches"], expected["patches"], atol=2e-6)
    counts = [int(config.kept_at(jnp.int32(step))) for step in range(12)]
    assert counts == [config.count(float(ratio)) for ratio in masks.cosine_table(0.25, 0.75, 10)] + [2]


def test_a_drawn_share_follows_the_seed_and_the_step():
    config = dataclasses.replace(
        TINY, mask_schedule="random", mask_ratio=0.25, mask_ratio_end=0.75, masking="random", depth=1
    )
    batch = {"frames": FRAMES, "noise": np.random.default_rng(1).random((2, 8), np.float32)}
    seeds = [zoo.create(config, rngs=nnx.Rngs(seed)) for seed in (0, 0, 1)]

    def counts(model, steps=range(40)):
        run = nnx.jit(lambda model, step: model.order({**batch, "step": step}).removed[0])
        return [8 - int(run(model, jnp.int32(step)).sum()) for step in steps]

    first, again, other = map(counts, seeds)
    assert first == again != other and {2, 3, 4, 5} <= {*first} <= {2, 3, 4, 5, 6}
    assert counts(seeds[0], range(20, 40)) == first[20:], "whatever was drawn before"
    evaluated = nnx.view(seeds[2], deterministic=True, raise_if_not_found=False)
    assert counts(evaluated) == [6] * 40 and not config.moves


@pytest.mark.parametrize(
    ("config", "changes", "sentence"),
    [
        (TINY, {"patch": 5}, "image_size must be a multiple of patch"),
        (TINY, {"t_patch": 3}, "num_frames must be a multiple of t_patch"),
        (TINY, {"mask_ratio": 0.95}, "mask_ratio 0.95 keeps none of the 8 tokens"),
        (TINY, {"mask_ratio": 0.0}, "mask_ratio 0.0 keeps all of the 8"),
        (TINY, {"mask_schedule": "random", "mask_ratio_end": 0.95}, "mask_ratio_end 0.95 keeps none of the 8 tokens"),
        (TINY, {"mask_schedule": "cosine", "mask_ratio_end": 0.5}, "mask_schedule is cosine, which needs mask_steps"),
        *(
            (TINY, {name: value}, f"{name} must be 1 or more, not {value}")
            for value in (0, -16)
            for name in ("image_size", "num_frames", "patch", "t_patch", "width", "depth", "heads")
            + ("decoder_width", "decoder_depth", "decoder_heads")
        ),
        *(
            (TINY, {name: value}, f"{name} must be a number from .* not {value}")
            for value in (float("inf"), float("nan"))
            for name in ("mask_ratio", "mask_ratio_end", "temperature", "temperature_end")
        ),
        (ImageClassifierConfig(), {"num_actions": 0}, "num_actions must be 1 or more, not 0"),
        (ImageClassifierConfig(), {"path_dropout": float("nan")}, "path_dropout must be a number from 0 to 1, not nan"),
        (TINY, {"pred_frames": 3}, "pred_frames must be"),
        (TINY, {"masking": "directed_v1", "temperature": 0}, "temperature must not be 0"),
        (TINY, {"masking": "directed_v1", "temperature_end": -1, "temperature_steps": 9}, "must not pass 0"),
        (TINY, {"temperature_steps": -1}, "temperature_steps must be 0 or more, not -1"),
        (TINY, {"heads": 3}, "width must be a multiple of its heads"),
        (TINY, {"num_frames": 8}, "pred_frames must be 4 or 8 with num_frames 8 and t_patch 2, not 2: set it, too"),
        (ImageMaeConfig(), {"num_frames": 2}, "an image has one frame"),
        (ImageClassifierConfig(), {"positions": "separate"}, "an image has one frame"),
        (ImageClassifierConfig(), {"cls_token": False, "pool": "class"}, "pool is class, which needs a class token"),
    ],
)
def test_settings_that_do_not_fit_are_refused(config, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(config, **changes)


def test_a_clip_of_another_length_is_refused(model):
    with pytest.raises(ValueError, match="the network reads clips"):
        model({"frames": FRAMES[:, :2]})


def test_a_classifier_starts_from_the_encoder_alone(model):
    config = VideoClassifierConfig(**SMALL, num_actions=3)
    wanted = port.shapes(config)
    taken, fresh, unused = transfer.apply(zoo.family(config).transfer, port.to_flat(model), wanted)
    assert set(fresh) == {"head.linear.kernel", "head.linear.bias"}
    assert set(taken) == {name for name in wanted if name.startswith("encoder.")}
    assert all(name.startswith("decoder.") for name in unused)


@pytest.mark.parametrize("pool", ["mean", "class"])
def test_a_classifier_of_pictures_starts_from_the_encoder(pool):
    """With its table of sines and cosines, which is then learned; with its norm only if the class token is pooled."""
    small = {"image_size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
    pretrained = ImageMaeConfig(**small, decoder_width=16, decoder_depth=1, decoder_heads=2)
    config = ImageClassifierConfig(**small, num_actions=3, pool=pool)
    flat, wanted = port.to_flat(zoo.create(pretrained)), port.shapes(config)
    transfer.check_positions(port.shapes(pretrained), wanted, config, "a run")
    taken, fresh, _ = transfer.apply(zoo.family(config).transfer, flat, wanted)
    own = {"fc_norm.scale", "fc_norm.bias"} if pool == "mean" else set()
    assert set(fresh) == {"head.linear.kernel", "head.linear.bias", *own}
    assert ("encoder.norm.scale" in taken) == (pool == "class")
    np.testing.assert_array_equal(taken["encoder.pos_embed"], sincos(16, (2, 2), True))
    names = set(port.to_torch({path: np.zeros(shape, np.float32) for path, shape in wanted.items()}, config))
    norms = {"fc_norm.weight", "fc_norm.bias"} if pool == "mean" else {"norm.weight", "norm.bias"}
    ends = {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "head.weight", "head.bias"}
    assert {name for name in names if not name.startswith("blocks.")} == ends | norms
    assert "blocks.0.attn.qkv.weight" in names


@pytest.mark.parametrize("pool", ["covered", "covered_mean"])
def test_pooling_by_boxes_leaves_out_what_is_not_covered(pool):
    config = VideoClassifierConfig(**SMALL, num_actions=3, pool=pool)
    model = zoo.create(config)
    model.eval()
    cover = np.ones(FRAMES.shape[:-1], np.float32)
    whole, none = (model.features({"frames": FRAMES, "cover": share * cover}) for share in (1, 0))
    plain = port.from_flat(port.to_flat(model), dataclasses.replace(config, pool="mean"))
    np.testing.assert_allclose(whole, plain.features({"frames": FRAMES}), atol=1e-5)
    np.testing.assert_allclose(none, np.tile(model.encoder.norm.bias[...], (2, 1)), atol=1e-6)
    cover[:, :, :8] = 0
    half = model.features({"frames": FRAMES, "cover": cover})
    assert np.abs(half - whole).max() > 1e-3


@pytest.mark.parametrize("positions", ["separate", "joint", "sincos"])
def test_positions_are_interpolated_when_asked(positions):
    config = dataclasses.replace(TINY, positions=positions)
    wanted = dataclasses.replace(config, image_size=32, num_frames=8, pred_frames=4)
    flat = {path: array.copy() for path, array in port.to_flat(zoo.create(config)).items()}
    step, _, column = np.mgrid[:2, :2, :2].reshape(3, -1)
    if positions == "joint":  # a table that rises along time and columns
        flat["encoder.pos_embed"][0, 1:] = (100 * step + column)[:, None]
    if positions == "separate":
        flat["encoder.pos_embed_spatial"][0] = np.array([0, 1, 0, 1])[:, None]
        flat["encoder.pos_embed_temporal"][0] = np.array([0, 100])[:, None]
    found = positions_module.resized(flat, config, wanted)
    model = port.from_flat(found, wanted)
    table, first = (np.asarray(value) for value in model.encoder.positions())
    assert table.shape == (4 * 4 * 4, 16)
    if positions == "sincos":
        np.testing.assert_array_equal(table, sincos(16, wanted.grid, True)[0, 1:])
        return
    np.testing.assert_array_equal(first, port.from_flat(flat, config).encoder.positions()[1])
    grid = table.reshape(4, 4, 4, 16)
    np.testing.assert_allclose(grid[:, 0, 0, 0] - grid[0, 0, 0, 0], [0, 25, 75, 100], atol=1e-4)
    assert (np.diff(grid[0, 0, :, 0]) > 0).all() and np.ptp(grid, axis=1).max() < 1e-4
    other = dataclasses.replace(config, patch=16)
    with pytest.raises(Problem, match="patch_embed"):
        port.from_flat(positions_module.resized(flat, config, other), other)


def test_a_fixed_table_starts_with_the_class():
    table = sincos(32, (2, 3, 4), True)
    assert table.shape == (1, 25, 32) and not table[0, 0].any()
    np.testing.assert_allclose(table[0, 1 + 12 + 4 + 2, :4], np.sin([1, 0.1**1, 0.01, 0.001]), atol=1e-6)
    assert sincos(16, (1, 2), False).shape == (1, 2, 16)
