"""The map of a collection, bin by bin."""

import numpy as np

from catalog.density import density_map


def test_bins_are_coloured_where_patches_lie_and_darker_where_more_do():
    lon, lat = [0.1] * 9 + [9.9], [4.9] * 9 + [0.1]  # nine in the north-west corner, one in the south-east one
    image = density_map(lon, lat, (0, 0, 10, 5))
    assert image.shape == (256, 512, 4)
    assert (image[..., 3] > 0).sum() == 2 * 4 * 4
    many, few = image[4, 4], image[-5, -5]
    assert many.tolist() == [128, 0, 38, 255]
    share = np.log(2) / np.log(10)
    expected = np.array([254, 217, 118]) + share * (np.array([128, 0, 38]) - np.array([254, 217, 118]))
    np.testing.assert_allclose(few[:3], expected, atol=0.5)


def test_a_single_place_and_a_tall_region_have_a_map():
    assert (density_map([5.0], [50.0], (5.0, 50.0, 5.0, 50.0))[..., 3] > 0).any()
    assert density_map([0.0, 1.0], [-50.0, 50.0], (0, -50, 1, 50)).shape == (512, 512, 4)
    assert (density_map([180.0], [90.0], (-180, -90, 180, 90))[0, -1, 3]) == 255
