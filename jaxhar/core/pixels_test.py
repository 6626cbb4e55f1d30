import numpy as np
import pytest

from jaxhar.core.pixels import Pixels

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), np.uint8)


@pytest.mark.parametrize("pixels", Pixels)
def test_frames_come_back_from_what_the_network_sees(pixels):
    seen = pixels({"frames": FRAMES})
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(pixels.picture(seen), FRAMES)
    assert pixels({"frames": seen}) is seen and pixels.picture(FRAMES) is FRAMES


def test_values_of_each():
    white = {"frames": np.full((1, 1, 1, 1, 3), 255, np.uint8)}
    np.testing.assert_allclose(Pixels.SIGNED(white)[0, 0, 0, 0], [1, 1, 1])
    np.testing.assert_allclose(Pixels.IMAGENET(white)[0, 0, 0, 0], [2.2489083, 2.4285715, 2.6399999], rtol=1e-6)
    np.testing.assert_allclose(Pixels.KINETICS(white)[0, 0, 0, 0], [0.55 / 0.225] * 3, rtol=1e-6)
    red = {"frames": np.array([255, 0, 0], np.uint8).reshape(1, 1, 1, 1, 3)}
    bgr = Pixels.IMAGENET_BGR(red)[0, 0, 0, 0]
    np.testing.assert_allclose(bgr, [-0.485 / 0.229, -0.456 / 0.224, (1 - 0.406) / 0.225], rtol=1e-6)


def test_power_bends_the_channels_before_they_are_normalised():
    power = np.array([2.0, 1.0, 0.5], np.float32) * np.ones((2, 3, 1), np.float32)
    seen = Pixels.SIGNED({"frames": FRAMES, "power": power})
    np.testing.assert_allclose(seen[..., 0], 2 * ((FRAMES[..., 0] / 255) ** 2 - 0.5), atol=1e-6)
    np.testing.assert_allclose(seen[..., 2], 2 * ((FRAMES[..., 2] / 255) ** 0.5 - 0.5), atol=1e-6)
