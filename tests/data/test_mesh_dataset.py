import pytest
import torch
from meshes import mesh

from multipath_gcn.data import MeshDataset


def labelled(**changes):
    data = mesh("torus", dtype=torch.float32)
    data.x, data.y = torch.randn(112, 2), torch.zeros(112, dtype=torch.int64)
    for name, value in changes.items():
        data[name] = value
    return data


def dataset(last, **options):
    splits = {"train": [labelled()], "valid": [labelled()], "test": [labelled(), last]}
    return MeshDataset("tiny", splits, options.pop("num_classes", 2), **options)


def test_holds_what_it_is_given():
    assert dataset(labelled()).num_features == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": torch.randn(112, 3)},
            r"x of splits\['test'\]\[1\] must be float32 of shape \[112, 2\], got .* \[112, 3\]",
        ),
        ({"x": torch.full((112, 2), torch.nan)}, "x of .* must be finite.* at vertex 0"),
        ({"y": torch.zeros(112)}, "y of .* must be int64"),
        ({"y": torch.full((112,), 2)}, r"must lie in \[0, 2\), got 2 at vertex 0"),
        ({"x": torch.randn(112)}, "x of .* must be float32 of shape"),
        ({"angle": torch.zeros(3)}, r"angle of splits\['test'\]\[1\] must be finite of shape \[672\], got .* \[3\]"),
        ({"transport": torch.full((672,), torch.nan)}, "transport of .* must be finite"),
        ({"angle": None}, "got none of angle"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    last = labelled(**change)
    for name, value in change.items():
        if value is None:
            del last[name]
    with pytest.raises(ValueError, match=message):
        dataset(last)


def test_wrong_splits():
    with pytest.raises(ValueError, match="splits must have exactly the keys train, valid, test"):
        MeshDataset("tiny", {"train": [labelled()]}, 2)
    with pytest.raises(ValueError, match=r"splits\['valid'\] must hold at least one mesh"):
        MeshDataset("tiny", {"train": [labelled()], "valid": [], "test": [labelled()]}, 2)
    with pytest.raises(ValueError, match="metric must be acc"):
        dataset(labelled(), metric="loss")
