"""Data sets: every loader is a plain function that returns a checked data set, such as :class:`NodeDataset`.

Names are imported when they are asked for: graphs bring PyG with them, 160 MB that images have no use for.
"""

from importlib import import_module

_HOME = {
    "Augment": "augment",
    "ImageDataset": "image_dataset",
    "ImageSplit": "image_dataset",
    "LargeNodeDataset": "large_dataset",
    "MeshDataset": "mesh_dataset",
    "MeshGeometry": "mesh_geometry",
    "NodeDataset": "node_dataset",
    "Normalize": "augment",
    "SequenceDataset": "sequence_dataset",
    "ZeroShotDataset": "zero_shot_dataset",
    "load_amazon": "pyg",
    "load_binary": "ogb_binary",
    "load_coauthor": "pyg",
    "load_cora_full": "pyg",
    "load_digit_images": "digit_images",
    "load_digit_segments": "zero_shot",
    "load_digit_sequences": "sequences",
    "load_digits": "digits",
    "load_faust": "faust",
    "load_gbu": "zero_shot",
    "load_images": "images",
    "load_jsb_chorales": "sequences",
    "load_mesh_gradients": "mesh_gradients",
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
