"""Amazon, Coauthor, CoraFull and Reddit through PyG's own classes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch_geometric
from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.datasets import Amazon, Coauthor, CoraFull, Reddit

from multipath_gcn.data import download
from multipath_gcn.data.cache import cache_root, load_derived
from multipath_gcn.data.node_dataset import NodeDataset
from multipath_gcn.data.roots import raw_folder


def load_amazon(name: str, split_seed: int = 0) -> NodeDataset:
    r"""Amazon ``computers`` (10 classes) or ``photo`` (8 classes) (Shchur et al., arXiv 1811.05868).

    Raw file: ``amazon/<Name>/raw/amazon_electronics_<name>.npz``. Split: :func:`random_split` of ``split_seed``.

    Raises:
        ValueError: for another name, or a raw file that cannot be read.
        MissingData: without the raw file and without a network.
        CorruptCache: for a changed file of the cache, which is set aside.
    """
    if name not in ("computers", "photo"):
        raise ValueError(f"name must be computers or photo, got {name!r}")
    file, below = f"amazon_electronics_{name}.npz", f"{name.capitalize()}/raw"
    data = _read(
        f"amazon_{name}",
        partial(Amazon, name=name),
        ("amazon", "Amazon"),
        below,
        [file],
        lambda target: download.fetch(Amazon.url + file, target / file),
    )
    return _dataset(f"amazon_{name}", data, random_split(data.num_nodes, split_seed))


def load_coauthor(name: str = "cs", split_seed: int = 0) -> NodeDataset:
    r"""Coauthor ``cs`` (15 classes) or ``physics`` (5 classes) (Shchur et al., arXiv 1811.05868).

    Raw file: ``coauthor/CS/raw/ms_academic_cs.npz`` or ``coauthor/Physics/raw/ms_academic_phy.npz``.
    Split and errors as in :func:`load_amazon`.
    """
    if name not in ("cs", "physics"):
        raise ValueError(f"name must be cs or physics, got {name!r}")
    file, below = {"cs": ("ms_academic_cs.npz", "CS/raw"), "physics": ("ms_academic_phy.npz", "Physics/raw")}[name]
    data = _read(
        f"coauthor_{name}",
        partial(Coauthor, name=name),
        ("coauthor", "Coauthor"),
        below,
        [file],
        lambda target: download.fetch(Coauthor.url + file, target / file),
    )
    return _dataset(f"coauthor_{name}", data, random_split(data.num_nodes, split_seed))


def load_cora_full(split_seed: int = 0) -> NodeDataset:
    r"""CoraFull, 70 classes (Bojchevski and Guennemann, arXiv 1707.03815).

    Raw file: ``cora_full/cora/raw/cora.npz``. Split and errors as in :func:`load_amazon`.
    """
    data = _read(
        "cora_full",
        CoraFull,
        ("cora_full", "CoraFull"),
        "cora/raw",
        ["cora.npz"],
        lambda target: download.fetch(CoraFull.url.format("cora"), target / "cora.npz"),
    )
    return _dataset("cora_full", data, random_split(data.num_nodes, split_seed))


def load_reddit() -> NodeDataset:
    r"""Reddit, 41 classes, with its own split by time (Hamilton et al., arXiv 1706.02216).

    Raw files: ``reddit/raw/reddit_data.npz`` and ``reddit/raw/reddit_graph.npz``. Errors as in :func:`load_amazon`.
    """
    data = _read(
        "reddit",
        Reddit,
        ("reddit", "Reddit"),
        "raw",
        ["reddit_data.npz", "reddit_graph.npz"],
        lambda target: download.fetch_zip(Reddit.url, target),
    )
    masks = {"train": data.train_mask, "valid": data.val_mask, "test": data.test_mask}
    return _dataset("reddit", data, {part: mask.nonzero().squeeze(1) for part, mask in masks.items()})


def random_split(num_nodes: int, seed: int) -> dict[str, Tensor]:
    """60 % of the nodes to train on, 20 % to validate and the rest to test, the same for equal seeds everywhere."""
    order = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(seed))
    train, valid = int(0.6 * num_nodes), int(0.8 * num_nodes)
    return {"train": order[:train], "valid": order[train:valid], "test": order[valid:]}


def _read(
    name: str,
    make: Callable[..., InMemoryDataset],
    parents: tuple[str, ...],
    below: str,
    files: list[str],
    fetch: Callable[[Path], None],
) -> Data:
    raw = raw_folder(name, [f"{parent}/{below}" for parent in parents], files, fetch)
    # What is stored holds pickled classes of PyG: another version of it derives its own.
    target = cache_root() / "derived" / f"{name}-pyg{torch_geometric.__version__}"
    return load_derived(target, raw, files, below, lambda root: make(root=str(root))[0])


def _dataset(name: str, data: Data, split: dict[str, Tensor]) -> NodeDataset:
    return NodeDataset(name, data.x, data.edge_index, data.y, split, int(data.y.max()) + 1, "acc")
