import pytest

from jaxhar.nn.maps import MapsConfig


def test_heat_maps_have_a_quarter_of_the_size():
    assert MapsConfig().heatmap_size == (64, 64)
    assert MapsConfig(image_size=(256, 192)).heatmap_size == (64, 48)
    assert MapsConfig(image_size=(256, 192), backbone="hrnet").heatmap_size == (64, 48)
    assert MapsConfig(deconv_filters=(256, 256), deconv_kernels=(4, 4)).heatmap_size == (32, 32)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 20}, "depth must be one of 18, 34, 50, 101, 152, not 20"),
        ({"image_size": 100}, "image_size must be a multiple of 32, not 100"),
        ({"image_size": (256, 0)}, "image_size must be a multiple of 32"),
        ({"deconv_filters": (256,)}, "deconv_filters has 1 entries and deconv_kernels 3"),
        ({"deconv_kernels": (4, 4, 5)}, "deconv_kernels must be 2, 3 or 4"),
        ({"final_kernel": 2}, "final_kernel 1 or 3"),
        ({"backbone": "vgg"}, "'vgg' is not a valid Backbone"),
    ],
)
def test_settings_that_no_network_has_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MapsConfig(**fields)
