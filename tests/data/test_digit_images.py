import numpy as np
import pytest
import sklearn.datasets
import torch

from multipath_gcn.data import load_digit_images

PARTS = ("train", "valid", "test")


def test_digits():
    data = load_digit_images()
    assert (data.name, data.num_classes, data.channels, data.size) == ("digit_images", 10, 1, (8, 8))
    assert [len(data.splits[part]) for part in PARTS] == [1137, 300, 360]
    pixels, labels = sklearn.datasets.load_digits(return_X_y=True)
    for part in data.splits.values():
        batch = part.batch(torch.arange(len(part)))
        assert np.array_equal(np.rint(batch.numpy().reshape(-1, 64) / 255 * 16), pixels[part.rows])
        assert np.array_equal(part.labels, labels[part.rows])
    assert torch.equal(torch.cat([data.splits[part].rows for part in PARTS]).sort().values, torch.arange(1797))


def test_mean_and_std_are_those_of_the_images_to_train_on():
    data = load_digit_images()
    train = data.splits["train"].batch(torch.arange(1137)).double() / 255
    assert data.mean == pytest.approx([train.mean().item()], rel=1e-12)
    assert data.std == pytest.approx([train.std(correction=0).item()], rel=1e-12)


def test_equal_arguments_equal_data():
    first, second, other = load_digit_images(), load_digit_images(), load_digit_images(split_seed=1)
    assert all(torch.equal(first.splits[part].rows, second.splits[part].rows) for part in PARTS)
    assert not torch.equal(first.splits["test"].rows, other.splits["test"].rows)
    assert [len(load_digit_images(10, 20).splits[part]) for part in PARTS] == [1767, 10, 20]


@pytest.mark.parametrize("valid, test", [(0, 360), (300, 0), (1000, 797)])
def test_refuses(valid, test):
    with pytest.raises(ValueError, match=f"valid and test must .* some of 1797 images, got {valid} and {test}"):
        load_digit_images(valid, test)
