from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxhar.models.baseline.network import BaselineConfig
from jaxhar.models.multiview import network as module
from jaxhar.models.multiview.network import MultiView, MultiViewConfig, fuse, sources
from jaxhar.nn.symmetric import Conv, batch_norm


class Small(nnx.Module):
    """Heat maps by one convolution with batch normalisation, in place of the whole network of a view."""

    def __init__(self, config: MultiViewConfig, *, dtype, rngs: nnx.Rngs):
        self.conv = Conv(3, config.num_joints, 3, 4, dtype=dtype, rngs=rngs)
        self.norm = batch_norm(config.num_joints)

    def __call__(self, images):
        return self.norm(self.conv(images))


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(module, "MapsNet", Small)
    return MultiView(replace(MultiViewConfig(), image_size=64), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).uniform(-1, 1, (2, 4, 64, 64, 3)).astype(np.float32)


@pytest.mark.parametrize("kind", [MultiViewConfig, BaselineConfig])
@pytest.mark.parametrize("change", [{"num_joints": 0}, {"width": 0}, {"deconv_filters": (8, 0, 8)}, {"units": -1}])
def test_sizes_below_one_are_refused(kind, change):
    with pytest.raises(ValueError, match=f"{[*change][0]} must be 1 or more, not"):
        kind(**change)


def test_a_fused_map_is_the_own_one_and_the_mean_of_the_others():
    assert sources(3) == ((1, 2), (0, 2), (0, 1))
    maps = jnp.asarray([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1, 1) * jnp.ones((1, 3, 2, 2, 1))
    fused = fuse(maps, [jnp.eye(4)] * 6)
    np.testing.assert_allclose(fused[0, :, 0, 0, 0], [0.4 + 33, 4 + 30.3, 40 + 3.3], rtol=1e-6)


def test_the_matrices_lead_from_the_others_in_ascending_order():
    rng = np.random.default_rng(0)
    maps, matrices = rng.normal(size=(1, 3, 2, 3, 2)), rng.normal(size=(6, 6, 6))
    fused = fuse(jnp.asarray(maps), list(jnp.asarray(matrices)))
    flat = maps[0].reshape(3, 6, 2)
    second = 0.4 * flat[1] + 0.3 * (matrices[2].T @ flat[0] + matrices[3].T @ flat[2])
    np.testing.assert_allclose(fused[0, 1].reshape(6, 2), second, rtol=1e-5, atol=1e-5)


def test_views_are_fused_where_they_are_all_there_and_of_one_moment(network, frames):
    network.eval()
    four = network({"frames": frames, "together": np.array([True, False])})["maps"]
    assert four.shape == (2, 2, 4, 16, 16, 20)
    assert np.abs(four[1, 0] - four[0, 0]).max() > 0.01 * np.abs(four[0, 0]).max()
    np.testing.assert_array_equal(four[1, 1], four[0, 1])
    three = network({"frames": frames[:, :3]})["maps"]
    assert three.shape == (1, 2, 3, 16, 16, 20)
    np.testing.assert_allclose(three[0], four[0, :, :3], atol=1e-6)


def test_in_training_batch_norms_see_one_view_after_the_other(network, frames):
    together, alone = (nnx.clone(network) for _ in range(2))
    together.train(), alone.train()
    found = together({"frames": frames[:, :2]})["maps"]
    for view in range(2):
        expected = alone({"frames": frames[:, view : view + 1]})["maps"]
        np.testing.assert_allclose(found[0, :, view], expected[0, :, 0], rtol=1e-4, atol=1e-5)
    for leaf in ("mean", "var"):
        moved, expected = (getattr(net.single.norm, leaf)[...] for net in (together, alone))
        np.testing.assert_allclose(moved, expected, rtol=1e-5)
        assert np.abs(moved - getattr(network.single.norm, leaf)[...]).max() > 1e-3
