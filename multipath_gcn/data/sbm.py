"""Random graphs: the degree-corrected stochastic block model (Karrer and Newman, arXiv 1008.3926), in plain NumPy."""

from collections.abc import Callable

import numpy as np

_ROUNDS = 100
_CHUNK = 1 << 22  # pairs drawn at a time


def sample_sbm(
    num_nodes: int,
    num_classes: int,
    mean_degree: float,
    homophily: float,
    degree_exponent: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Distinct undirected edges without loops, and the class of each node.

    A pair (i, j) is drawn with probability proportional to :math:`\theta_i \theta_j`, where the weights
    :math:`\theta` follow a power law; a share ``homophily`` of all edges joins nodes of one class, exactly.

    Args:
        num_nodes: N.
        num_classes: classes of equal size, up to one node.
        mean_degree: 2 E / N.
        homophily: in [0, 1].
        degree_exponent: of the density of degrees, above 2.
        rng: source of all randomness.

    Returns:
        int64 [2, E] edges, each once and in a random direction, and int64 [N] classes.

    Raises:
        ValueError: if so many distinct edges of a kind cannot be found.
    """
    # Positions are nodes sorted by class; `start` are the borders of the classes, `mass` the summed weight before each.
    order = rng.permutation(num_nodes)
    start = np.arange(num_classes + 1) * num_nodes // num_classes
    block = np.repeat(np.arange(num_classes), np.diff(start))
    weight = (1 - rng.random(num_nodes)) ** (-1 / (degree_exponent - 1))
    weight = weight.clip(max=weight.mean() * num_nodes / (10 * mean_degree))  # no node expects over a tenth of all
    mass = np.concatenate([[0.0], weight.cumsum()])

    def node_at(place: np.ndarray) -> np.ndarray:
        return np.searchsorted(mass, place, side="right").clip(1, num_nodes) - 1

    def draw(count: int, same: bool) -> np.ndarray:
        one = node_at(np.sort(rng.random(count)) * mass[-1])  # sorted: neighbouring searches share memory
        low, high = mass[start[block[one]]], mass[start[block[one] + 1]]
        if same:
            place = low + rng.random(count) * (high - low)
        else:  # anywhere in what is left when the node's own class is cut out
            place = rng.random(count) * (mass[-1] - (high - low))
            place += np.where(place >= low, high - low, 0)
        two = node_at(place)
        fits = (one != two) & ((block[one] == block[two]) == same)
        pair = np.sort(np.stack([one[fits], two[fits]]), axis=0)
        return pair[0] * num_nodes + pair[1]

    total = round(num_nodes * mean_degree / 2)
    within = round(homophily * total)
    keys = np.concatenate(
        [
            _distinct(within, lambda count: draw(count, True), rng, "one class"),
            _distinct(total - within, lambda count: draw(count, False), rng, "two classes"),
        ]
    )
    edges = np.stack([keys // num_nodes, keys % num_nodes])
    turned = rng.random(edges.shape[1]) < 0.5
    edges[:, turned] = edges[::-1, turned]
    y = np.empty(num_nodes, np.int64)
    y[order] = block
    return order[edges], y


def _distinct(count: int, draw: Callable[[int], np.ndarray], rng: np.random.Generator, kind: str) -> np.ndarray:
    keys, fresh = np.empty(0, np.int64), 1.0
    for _ in range(_ROUNDS):
        missing = count - keys.size
        if missing <= 0:
            return rng.choice(keys, count, replace=False, shuffle=False)
        ask = int(missing / fresh * 1.06) + 16  # by the share of new pairs in the last round
        drawn = [draw(min(_CHUNK, ask - start)) for start in range(0, ask, _CHUNK)]
        known = keys.size
        keys = np.sort(np.concatenate([keys, *drawn]))  # np.unique hashes, five times slower here
        keys = keys[np.diff(keys, prepend=-1) > 0]
        fresh = max((keys.size - known) / ask, 0.05)
    raise ValueError(f"mean_degree asks for {count} distinct edges within {kind}, got {keys.size} in {_ROUNDS} rounds")
