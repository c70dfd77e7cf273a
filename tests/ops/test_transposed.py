import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from multipath_gcn.ops.features import compressed, sparse_linear
from multipath_gcn.ops.transposed import transposed

OPS = torch.ops.multipath_gcn


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64, torch.bfloat16))
@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 33), (5, 100), (100, 5), (0, 3), (3, 0), (64, 48)], ids=str)
def test_columns_made_rows(shape, dtype):
    x = torch.randn(shape).to(dtype)
    for given in (x, torch.randn(shape[0], shape[1] + 3).to(dtype)[:, 2:-1], x.t().contiguous().t()):
        y = transposed(given)
        assert y.is_contiguous() and torch.equal(y, given.t())


def test_gradients_of_the_transposed():
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(transposed, x) and gradgradcheck(transposed, x)
    torch.library.opcheck(OPS.transposed.default, (x,))
    features = compressed(F.dropout(torch.rand(30, 20, dtype=torch.float64) + 1, 0.95))
    weight = torch.randn(4, 20, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda w: sparse_linear(features, w), weight)
    assert gradgradcheck(lambda w: sparse_linear(features, w), weight)
    sparse_linear(features, weight).sum().backward()
    assert weight.grad.is_contiguous()
