import pytest
import torch
from torch.nn import functional as F

from multipath_gcn.ops.features import compressed, drop_rows, dropout, is_sparse

X = F.dropout(torch.rand(200, 300) + 1, 0.95)


def test_mostly_zero_becomes_csr_and_means_the_same():
    x = compressed(X)
    assert is_sparse(x)
    assert torch.equal(x.to_dense(), X)
    assert not is_sparse(compressed(X + 1))
    assert compressed(torch.zeros(3, 4)).to_dense().shape == (3, 4)


@pytest.mark.parametrize("form", [lambda x: x, compressed], ids=["dense", "csr"])
def test_dropout_zeroes_a_part_and_scales_the_rest(form):
    dropped = dropout(form(X), 0.75).to_dense()
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 4 * X[kept])
    assert kept.sum().item() == pytest.approx(0.25 * (X != 0).sum().item(), rel=0.1)
    assert torch.equal(dropout(form(X), 0.75, training=False).to_dense(), X)
    assert torch.equal(dropout(form(X), 0.0).to_dense(), X)


@pytest.mark.parametrize("form", [lambda x: x, compressed], ids=["dense", "csr"])
def test_drop_rows_takes_whole_rows(form):
    dropped = drop_rows(form(X), 0.5).to_dense()
    gone = (dropped == 0).all(1)
    torch.testing.assert_close(dropped[~gone], 2 * X[~gone])
    assert gone.sum().item() == pytest.approx(100, abs=30)
    assert torch.equal(drop_rows(form(X), 0.0).to_dense(), X)
