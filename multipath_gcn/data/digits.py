"""scikit-learn's scanned digits as a node task: needs no download, and is written and read as an OGB data set."""

import numpy as np

from multipath_gcn.data.cache import build, cache_root, fingerprint
from multipath_gcn.data.node_dataset import NodeDataset
from multipath_gcn.data.ogb import read_ogb
from multipath_gcn.data.ogb_layout import layout_files, layout_meta, write_layout
from multipath_gcn.data.ogbn import undirected

_VERSION = 1  # of what is written: a change must not meet old files
_VALID = 300


def load_digits(neighbors: int = 5, train_per_class: int = 5, split_seed: int = 0) -> NodeDataset:
    r"""1,797 images of 8 x 8 pixels in [0, 1], 10 classes; each joined to its nearest images, in both directions.

    Equal arguments give equal data, in a semi-supervised split: a few labels per class to train on, 300 images to
    validate, the rest to test. The csv files are written into the cache once and read by the official OGB loader.

    Args:
        neighbors: number of nearest images by Euclidean distance, ties to the lower index.
        train_per_class: labels of each class to train on, at most 100.
        split_seed: of the split.

    Raises:
        ValueError: for an argument out of its range.
        CorruptCache: for a changed file of the cache, which is set aside.
    """
    if not 1 <= neighbors <= 100:
        raise ValueError(f"neighbors must be in [1, 100], got {neighbors}")
    if not 1 <= train_per_class <= 100:
        raise ValueError(f"train_per_class must be in [1, 100], got {train_per_class}")
    if split_seed < 0:
        raise ValueError(f"split_seed must be at least 0, got {split_seed}")
    folder = cache_root() / "generated" / f"digits-{fingerprint([_VERSION, neighbors, train_per_class, split_seed])}"
    if not folder.exists():
        import sklearn.datasets

        pixels, y = sklearn.datasets.load_digits(return_X_y=True)
        with build(folder) as target:
            write_layout(
                target,
                x=pixels / 16,
                decimals=4,
                edge_index=_nearest(pixels, neighbors),
                y=y,
                split=_split(y, train_per_class, split_seed),
                split_name="random",
            )
    data, split = read_ogb("digits", folder, layout_files("random"), undirected, layout_meta("random", 10))
    return NodeDataset("digits", data.x, data.edge_index, data.y, split, 10, "acc")


def _nearest(points: np.ndarray, count: int) -> np.ndarray:
    # Pixels are whole numbers, so that these distances are exact and ties fall the same way on any machine.
    square = (points**2).sum(axis=1)
    distance = square[:, None] + square[None, :] - 2 * points @ points.T
    np.fill_diagonal(distance, np.inf)
    nearest = distance.argsort(axis=1, kind="stable")[:, :count]
    pairs = np.stack([np.repeat(np.arange(len(points)), count), nearest.ravel()])
    return np.unique(np.sort(pairs, axis=0), axis=1)


def _split(y: np.ndarray, per_class: int, seed: int) -> dict[str, np.ndarray]:
    order = np.random.default_rng(seed).permutation(len(y))
    train = np.concatenate([order[y[order] == label][:per_class] for label in range(10)])
    rest = order[~np.isin(order, train)]
    return {"train": np.sort(train), "valid": np.sort(rest[:_VALID]), "test": np.sort(rest[_VALID:])}
