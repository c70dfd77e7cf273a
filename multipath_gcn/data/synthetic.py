"""Synthetic node classification from 1 k nodes to the size of ogbn-products, written and read as an OGB data set."""

import logging
import re
import time

import numpy as np

from multipath_gcn.data.cache import build, cache_root, fingerprint
from multipath_gcn.data.node_dataset import NodeDataset
from multipath_gcn.data.ogb import read_ogb
from multipath_gcn.data.ogb_layout import layout_files, layout_meta, write_layout
from multipath_gcn.data.ogbn import undirected
from multipath_gcn.data.sbm import sample_sbm

log = logging.getLogger(__name__)

_VERSION = 2  # of the generator: a change of what it writes must not meet old files


def load_synthetic(
    num_nodes: int = 2000,
    mean_degree: float = 8.0,
    num_features: int = 64,
    num_classes: int = 8,
    homophily: float = 0.5,
    degree_exponent: float = 2.5,
    signal: float = 1.5,
    train: float = 0.5,
    valid: float = 0.2,
    seed: int = 0,
    name: str = "synthetic",
) -> NodeDataset:
    r"""A degree-corrected stochastic block model whose blocks are the classes, with features
    :math:`x_i = \text{signal} \cdot \mu_{y_i} + \varepsilon_i`, :math:`\mu_c` random unit vectors and
    :math:`\varepsilon_i` standard normal, rounded to 2 decimals.

    Equal arguments give equal data. The csv files are written into the cache once, under the digest of the arguments,
    and read by the official OGB loader; writing and loading are logged apart.

    Args:
        num_nodes: N.
        mean_degree: 2 E / N, where E counts undirected edges.
        num_features: F.
        num_classes: number of blocks, of equal size.
        homophily: share of edges within a class.
        degree_exponent: exponent of the power law of degrees, above 2.
        signal: length of the class means, in standard deviations of the noise.
        train: share of nodes to train on, drawn at random.
        valid: share to validate on; the rest is the test set.
        seed: of everything random.
        name: what reports call it; never the name of an OGB data set.

    Raises:
        ValueError: for an argument out of its range, or more edges than the blocks can hold.
        CorruptCache: for a changed file of the cache, which is set aside.
    """
    # float(): 8 and 8.0 are the same graph and must have the same digest.
    arguments = dict(
        num_nodes=num_nodes,
        mean_degree=float(mean_degree),
        num_features=num_features,
        num_classes=num_classes,
        homophily=float(homophily),
        degree_exponent=float(degree_exponent),
        signal=float(signal),
        train=float(train),
        valid=float(valid),
        seed=seed,
        name=name,
    )
    _check(**arguments)
    folder = cache_root() / "generated" / f"{name}-{fingerprint([_VERSION, arguments])}"
    if not folder.exists():
        begin = time.perf_counter()
        rng = np.random.default_rng(seed)
        edge_index, y = sample_sbm(num_nodes, num_classes, mean_degree, homophily, degree_exponent, rng)
        x = rng.standard_normal((num_nodes, num_features), np.float32)
        mean = rng.standard_normal((num_classes, num_features), np.float32)
        x += (signal * mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)[y]
        order, cut = rng.permutation(num_nodes), [round(train * num_nodes), round((train + valid) * num_nodes)]
        parts = dict(zip(("train", "valid", "test"), map(np.sort, np.split(order, cut)), strict=True))
        sampled = time.perf_counter()
        with build(folder) as target:
            write_layout(target, x=x, decimals=2, edge_index=edge_index, y=y, split=parts, split_name="random")
        written = time.perf_counter()
        log.info("%s: generated in %.1f s, written in %.1f s", name, sampled - begin, written - sampled)
    data, split = read_ogb(name, folder, layout_files("random"), undirected, layout_meta("random", num_classes))
    return NodeDataset(name, data.x, data.edge_index, data.y, split, num_classes, "acc", synthetic=True)


def _check(
    *, num_nodes, mean_degree, num_features, num_classes, homophily, degree_exponent, signal, train, valid, seed, name
) -> None:
    rules = [
        ("num_nodes", num_nodes, "at least 10", num_nodes >= 10),
        ("mean_degree", mean_degree, f"in (0, num_nodes / 4 = {num_nodes / 4}]", 0 < mean_degree <= num_nodes / 4),
        ("num_features", num_features, "at least 1", num_features >= 1),
        ("num_classes", num_classes, f"in [2, num_nodes / 2 = {num_nodes / 2}]", 2 <= num_classes <= num_nodes / 2),
        ("homophily", homophily, "in [0, 1]", 0 <= homophily <= 1),
        ("degree_exponent", degree_exponent, "above 2", degree_exponent > 2),
        ("signal", signal, "in [0, 1000]", 0 <= signal <= 1000),
        ("train", train, "in (0, 1)", 0 < train < 1),
        ("valid", valid, f"in (0, 1 - train = {1 - train:g})", 0 < valid < 1 - train),
        ("seed", seed, "at least 0", seed >= 0),
        (
            "name",
            name,
            "made of letters, digits, _ and -, without ogbn",
            re.fullmatch(r"[\w-]+", name) and "ogbn" not in name,
        ),
    ]
    for argument, value, rule, kept in rules:
        if not kept:
            raise ValueError(f"{argument} must be {rule}, got {value!r}")
