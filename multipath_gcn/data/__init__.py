"""Data sets: every loader is a plain function that returns a checked :class:`NodeDataset` or :class:`ImageDataset`.

Names are imported when they are asked for: graphs bring PyG with them, 160 MB that images have no use for.
"""

from importlib import import_module

_HOME = {
    "Augment": "augment",
    "ImageDataset": "image_dataset",
    "ImageSplit": "image_dataset",
    "LargeNodeDataset": "large_dataset",
    "NodeDataset": "node_dataset",
    "Normalize": "augment",
    "load_amazon": "pyg",
    "load_binary": "ogb_binary",
    "load_coauthor": "pyg",
    "load_cora_full": "pyg",
    "load_digit_images": "digit_images",
    "load_digits": "digits",
    "load_images": "images",
    "load_ogbn": "ogbn",
    "load_papers100m": "ogb_binary",
    "load_planetoid": "planetoid",
    "load_reddit": "pyg",
    "load_synthetic": "synthetic",
    "partitioned": "partition",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
