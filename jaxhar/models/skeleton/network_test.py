"""What the skeleton transformer shows: the attention of its class token to the joints."""

import jax
import numpy as np
import pytest
from flax import nnx

from jaxhar import inference, zoo
from jaxhar.core.network import Showing
from jaxhar.models.skeleton.network import SkeletonTransformerConfig


@pytest.mark.parametrize("name", ["num_frames", "num_persons", "num_joints", "width", "depth", "heads", "num_actions"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, not 0"):
        SkeletonTransformerConfig(**{name: 0})


@pytest.mark.parametrize("name", ["mlp_ratio", "dropout", "attention_dropout", "path_dropout"])
def test_numbers_that_are_not_finite_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be a number from .* not nan"):
        SkeletonTransformerConfig(**{name: float("nan")})


def test_attention_is_that_of_the_class_token_in_the_last_block():
    config = SkeletonTransformerConfig(num_frames=3, num_joints=4, width=8, heads=2, depth=1, num_actions=5)
    model = zoo.create(config, rngs=nnx.Rngs(3))
    assert isinstance(model, Showing)
    (block,) = model.blocks
    block.attn.qkv.kernel[...] *= 40  # far from equal shares
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2, 3, 2, 4, 3)).astype(np.float32)
    points[0, :, 1] = 0  # one person alone
    points[1, 0, 0, 2] = 0
    found = inference.shows(model, {"points": points})["attention"]
    assert found.shape == (2, 3, 2, 4)
    assert not found[0, :, 1].any() and found[1, 0, 0, 2] == 0 and (found[1, 1] > 0).all()

    arrays = jax.tree.map(np.float64, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    tokens = points.reshape(2, 24, 3) @ arrays["embed"]["kernel"] + arrays["embed"]["bias"]
    x = np.concatenate([np.repeat(arrays["cls_token"], 2, 0), tokens], 1) + arrays["positions"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    layer = arrays["blocks"][0]
    x = x * layer["norm1"]["scale"] + layer["norm1"]["bias"]
    heads = (x @ layer["attn"]["qkv"]["kernel"] + layer["attn"]["qkv"]["bias"]).reshape(2, 25, 3, 2, 4)
    scores = np.exp(np.einsum("bhd,bkhd->bhk", heads[:, 0, 0], heads[:, :, 1]) / 2)
    scores[:, :, 1:] *= points.any(-1).reshape(2, 1, 24)
    shares = (scores / scores.sum(-1, keepdims=True)).mean(1)
    np.testing.assert_allclose(found.reshape(2, 24), shares[:, 1:], atol=1e-5)
