import jax
import numpy as np
import pytest

from jaxhar import infer, inference, zoo


@pytest.mark.parametrize("name, batch, time", [("reception-mpii", 3, 3), ("reception-penn", 3, 4), ("spnet-ntu", 3, 4)])
def test_many_frames_go_in_pieces_of_one_shape(name, batch, time):
    from dataclasses import replace

    config = zoo.tiny(name)
    config = replace(config, num_frames=time) if config.num_frames else config
    model = zoo.create(config)
    frames = np.random.default_rng(0).uniform(-1, 1, (batch, time, 64, 64, 3)).astype(np.float32)
    whole = infer(model, frames)
    before = inference._forward._cache_size()
    cut = infer(model, frames, chunk=5)
    assert inference._forward._cache_size() == before + 1, "one shape, one compilation"
    assert jax.tree.structure(whole) == jax.tree.structure(cut)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), whole, cut)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        infer(zoo.create(zoo.tiny("reception-mpii")), np.zeros((2, 2)))
