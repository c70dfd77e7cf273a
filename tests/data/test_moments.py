import numpy as np
import pytest

from multipath_gcn.data.moments import image_moments, mean_and_std


def test_equal_those_of_all_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 5, 4, 3), dtype=np.uint8)
    moments = np.concatenate([image_moments(pixels[:7]), image_moments(pixels[7:])])
    assert moments.dtype == np.int64 and moments.shape == (40, 2, 3)
    for rows in (slice(None), slice(3, 9)):
        mean, std = mean_and_std(moments[rows], 20)
        scaled = pixels[rows].reshape(-1, 3) / 255
        assert mean == pytest.approx(scaled.mean(axis=0), rel=1e-12)
        assert std == pytest.approx(scaled.std(axis=0), rel=1e-12)


def test_no_rounding_however_many_pixels():
    dark, bright = np.zeros((1, 1, 1, 1), np.uint8), np.full((1, 1, 1, 1), 255, np.uint8)
    moments = np.concatenate([image_moments(dark), image_moments(bright)]) * 10**12
    assert mean_and_std(moments, 10**12) == ((0.5,), (0.5,))
    assert mean_and_std(image_moments(bright), 1) == ((1.0,), (0.0,))
