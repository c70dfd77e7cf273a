import pytest
import torch
from torch.nn import functional as F

from multipath_gcn.ops.autocast import autocast

X = torch.ones(2, 4)


def test_tensors_are_as_given_where_it_is_off():
    weight = torch.ones(3, 4)
    assert autocast(X, weight, None) == (X, weight, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_types_are_those_of_linear(dtype):
    given, weight = X.to(dtype), torch.ones(3, 4, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        x, cast, bias = autocast(given, weight, None)
        wanted = F.linear(given, weight)
    assert bias is None
    assert x.dtype is cast.dtype is wanted.dtype


def test_whole_numbers_and_what_is_no_tensor_are_left_to_the_check():
    with torch.autocast("cpu", torch.bfloat16):
        assert autocast(X.int())[0].dtype is torch.int32
        assert autocast([1], X) == ([1], X)
        assert autocast(X, [1])[1] == [1]
        assert autocast(X.to("meta"))[0].dtype is torch.float32


def test_a_type_instead_of_its_own():
    with torch.autocast("cpu", torch.bfloat16):
        assert autocast(X.bfloat16(), dtype=torch.float32)[0].dtype is torch.float32
    assert autocast(X.bfloat16(), dtype=torch.float32)[0].dtype is torch.bfloat16
