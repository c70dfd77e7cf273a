"""The official OGB loader and Evaluator, kept from asking questions, from the network and from foreign pickles.

ogb 1.3.6 calls a bare ``torch.load``, which torch >= 2.6 refuses for the files that ogb itself writes
(github.com/snap-stanford/ogb/issues/497).  For the time of a call its module sees a ``torch`` whose ``load`` unpickles
files of one folder of our cache, where that same loader wrote them; any other file is read with ``weights_only=True``.
"""

import contextlib
import io
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch_geometric
from torch import Tensor
from torch_geometric.data import Data

from multipath_gcn.data.cache import cache_root, load_derived

log = logging.getLogger(__name__)

_patching = threading.Lock()


def read_ogb(
    name: str,
    raw: Path,
    files: Sequence[str],
    prepare: Callable[[Data], Data],
    meta: Mapping[str, object] | None = None,
) -> tuple[Data, dict[str, Tensor]]:
    """The graph and the split of a folder in OGB's layout, read with ``PygNodePropPredDataset``.

    Args:
        name: of the data set; a real OGB name unless ``meta`` is given.
        raw: the folder, which is only read; derived files go to the cache.
        files: its files, relative to it; among them the release file, without which ogb asks a question.
        prepare: turns the loader's graph into the one to keep; its result is what is stored.
        meta: ``meta_dict`` of a data set that OGB does not know, without its path.

    Raises:
        CorruptCache: for a changed file of the cache, which is set aside.
        ValueError: for raw files that cannot be read.
    """
    folder = name.replace("-", "_")

    def load(root: Path) -> tuple[Data, dict[str, Tensor]]:
        about = None if meta is None else {**meta, "dir_path": str(root / folder)}
        chatter = io.StringIO()
        with _unpickling_below(root), contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter):
            dataset = _ogb().PygNodePropPredDataset(name, str(root), pre_transform=prepare, meta_dict=about)
            split = dataset.get_idx_split()
        log.debug("%s: %s", name, chatter.getvalue())
        # A heterogeneous split is one per node type; papers are the only type with labels. The clone is writable.
        nodes = {part: ids["paper"] if isinstance(ids, dict) else ids for part, ids in split.items()}
        return dataset[0], {part: ids.clone() for part, ids in nodes.items()}

    start = time.perf_counter()
    # What is stored holds pickled classes of PyG: another version of it derives its own.
    target = f"{folder}-{prepare.__name__.strip('_')}-pyg{torch_geometric.__version__}"
    result = load_derived(cache_root() / "derived" / target, raw, files, folder, load)
    log.info("%s: loaded in %.1f s", name, time.perf_counter() - start)
    return result


def ogb_facts(name: str) -> Mapping[str, str]:
    """What OGB's own table says about a data set: address, release, split, metric, number of classes and tasks."""
    import pandas

    table = Path(_ogb().dataset_pyg.__file__).with_name("master.csv")
    return pandas.read_csv(table, index_col=0, keep_default_na=False)[name].to_dict()


@cache
def evaluator(metric: str, num_tasks: int) -> Any:
    """The official Evaluator of a metric. It is made for OGB's own names only, yet computes the same for any data."""
    evaluator = _ogb().Evaluator({"acc": "ogbn-arxiv", "rocauc": "ogbn-proteins"}[metric])
    evaluator.num_tasks = num_tasks
    return evaluator


@lru_cache(maxsize=1)
def _ogb() -> ModuleType:
    """``ogb.nodeproppred``, imported without the look for a newer ogb on the network that its import starts."""
    before = {"outdated": sys.modules["outdated"]} if "outdated" in sys.modules else {}
    sys.modules["outdated"] = None  # type: ignore[assignment]  # which ogb takes for "not installed"
    try:
        import ogb.nodeproppred
    finally:
        del sys.modules["outdated"]
        sys.modules.update(before)
    return ogb.nodeproppred


class _Torch:
    """``torch`` with a ``load`` that unpickles files below ``folder`` only, links followed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def load(self, path: str) -> Any:
        return torch.load(path, weights_only=not Path(path).resolve().is_relative_to(self._folder))


@contextlib.contextmanager
def _unpickling_below(folder: Path) -> Iterator[None]:
    module = _ogb().dataset_pyg
    with _patching, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # pandas 3; ogb only copies it
        module.torch = _Torch(folder)
        try:
            yield
        finally:
            module.torch = torch
