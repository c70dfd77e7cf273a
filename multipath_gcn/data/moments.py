"""Exact mean and deviation of pixels: whole numbers are added up per image, so that any set of images has its own."""

from math import isqrt

import numpy as np


def image_moments(pixels: np.ndarray) -> np.ndarray:
    """int64 [B, 2, C]: sum and sum of squares of each channel of each image, from uint8 ``pixels`` [B, H, W, C]."""
    values = pixels.reshape(len(pixels), -1, pixels.shape[-1]).astype(np.int64)
    return np.stack([values.sum(axis=1), np.einsum("bpc,bpc->bc", values, values)], axis=1)


def mean_and_std(moments: np.ndarray, pixels_per_image: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of each channel, over all pixels of the images that ``moments`` describe, scaled to [0, 1]."""
    count = len(moments) * pixels_per_image
    sums, squares = moments.sum(axis=0).tolist()  # whole numbers of any size from here on
    mean = tuple(total / (255 * count) for total in sums)
    std = tuple(
        _root(count * square - total * total) / (255 * count) for total, square in zip(sums, squares, strict=True)
    )
    return mean, std


def _root(value: int) -> float:
    return isqrt(value << 64) / 2**32  # exact to 2^-32, where a float's square root could overflow
