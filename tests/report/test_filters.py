import numpy as np
import pytest
from matplotlib.image import imread

from multipath_gcn.report import plot_filters


@pytest.mark.parametrize("channels", [1, 3])
def test_the_largest_filters_are_drawn(channels, tmp_path):
    weight = np.zeros((9, channels, 6, 6))
    weight[2, :, :, :3], weight[7, :, 0, 0] = 1.0, -20.0
    plot_filters(weight, tmp_path / "filters.png")
    picture = imread(tmp_path / "filters.png")[..., :3]
    assert picture.shape[:2] == (100, 200)  # the two that are not 0
    left, right = picture[5:95, 5:95], picture[5:95, 105:195]  # the larger norm first
    assert (left.max(2) < 0.1).any() and not (right < 0.4).any()  # the one negative weight, black
    assert (picture[40:60, 115:135] == 1).all()  # the left half of filter 2, white
    np.testing.assert_allclose(picture[40:60, 170:185], 0.5, atol=0.01)  # and the rest, grey


def test_wrong_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"weight must be \(O, 1 or 3, H, W\), got \[4, 2, 3, 3\]"):
        plot_filters(np.ones((4, 2, 3, 3)), tmp_path / "filters.png")
    with pytest.raises(ValueError, match="weight must have a filter that is not 0, got none"):
        plot_filters(np.zeros((4, 3, 3, 3)), tmp_path / "filters.png")
    assert not list(tmp_path.iterdir())
