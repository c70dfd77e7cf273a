"""scikit-learn's scanned digits as images: needs no download."""

import numpy as np
import torch

from multipath_gcn.data.image_dataset import ImageDataset, ImageSplit
from multipath_gcn.data.moments import image_moments, mean_and_std


def load_digit_images(valid: int = 300, test: int = 360, split_seed: int = 0) -> ImageDataset:
    r"""1,797 grey images of 8 x 8 pixels, 10 classes, in a random split; equal arguments give equal data.

    Args:
        valid: number of images to validate.
        test: number of images to test; the rest is to train on.
        split_seed: of the split.

    Raises:
        ValueError: for an argument out of its range.
    """
    import sklearn.datasets

    pixels, y = sklearn.datasets.load_digits(return_X_y=True)
    if valid < 1 or test < 1 or valid + test >= len(y):
        rule = f"be at least 1 each and leave some of {len(y)} images"
        raise ValueError(f"valid and test must {rule}, got {valid} and {test}")
    pixels = np.rint(pixels * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)  # they are whole numbers up to 16
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(split_seed))
    labels = torch.from_numpy(y.astype(np.int64))
    sizes = {"test": test, "valid": valid, "train": len(y) - test - valid}
    rows = {part: drawn.sort().values for part, drawn in zip(sizes, order.split(list(sizes.values())), strict=True)}
    splits = {part: ImageSplit(pixels, labels[rows[part]], rows[part]) for part in sizes}
    mean, std = mean_and_std(image_moments(pixels[rows["train"].numpy()]), 64)
    return ImageDataset("digit_images", splits, 10, mean, std, crop_padding=1)
