"""Random convolutions: values and gradients against PyTorch's in float64, within the rounding of their sums."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from multipath_gcn.ops import grouped_conv2d, prepack_conv2d

quick = settings(max_examples=60, deadline=None, derandomize=True)

MEMORY = {
    "planar": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "columns of wider images": lambda x: torch.cat([x, x, x], dim=3)[:, :, :, x.size(3) : 2 * x.size(3)],
    "rows of higher images": lambda x: torch.cat([x, x], dim=2)[:, :, : x.size(2)],
    "some channels, last": lambda x: torch.cat([x, x], 1).contiguous(memory_format=torch.channels_last)[:, : x.size(1)],
    "every other pixel": lambda x: x.repeat_interleave(2, dim=3)[..., ::2],
    "columns first": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "channels first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "one image for all": lambda x: x[:1].expand_as(x),
}


@st.composite
def problems(draw):
    """(x, weight, bias, stride, ((top, bottom), (left, right)), dilation, groups), in float64 but of another type's values"""
    groups = draw(st.sampled_from([1, 2, 3, 4, 8, 19]))
    channels, filters = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 3, 4, 5, 8, 17]))
    kernel, stride = (draw(st.tuples(st.integers(1, 5), st.integers(1, 5))) for _ in range(2))
    dilation = draw(st.tuples(*[st.integers(1, 3)] * 2))
    padding = draw(st.tuples(*[st.tuples(*[st.integers(0, 4)] * 2)] * 2))
    size = [
        draw(st.integers(max(1, d * (k - 1) + 1 - sum(sides)), 40))
        for d, k, sides in zip(dilation, kernel, padding, strict=True)
    ]
    batch = draw(st.integers(0, 3))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    x = torch.randn(batch, groups * channels, *size, dtype=torch.float64)
    weight = torch.randn(groups * filters, channels, *kernel, dtype=torch.float64)
    return x, weight, torch.randn(groups * filters, dtype=torch.float64), stride, padding, dilation, groups


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    (top, bottom), (left, right) = padding
    return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, stride, 0, dilation, groups)


def with_gradients(function, x, weight, bias, geometry, grad):
    """Of the sum of all outputs times ``grad``, which is a function of the outputs' shape and type."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = function(x, weight, bias, *geometry)
    return [y.detach(), *torch.autograd.grad(y, (x, weight), grad(y))]


@quick
@given(problems(), st.sampled_from(list(MEMORY)), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_values_and_gradients_are_pytorchs(problem, memory, dtype):
    *tensors, stride, padding, dilation, groups = problem
    geometry = stride, padding, dilation, groups
    x, weight, bias = (tensor.to(dtype) for tensor in tensors)
    x = MEMORY[memory](x)
    wide = [tensor.double().contiguous() for tensor in (x, weight, bias)]
    grad = torch.randn(conv2d(*wide, *geometry).shape).to(dtype)
    found = with_gradients(grouped_conv2d, x, weight, bias, geometry, lambda y: grad)
    if len(x) == 0:
        assert [t.shape for t in found] == [grad.shape, x.shape, weight.shape] and not found[2].any()
        return
    wanted = with_gradients(conv2d, *wide, geometry, lambda y: grad.double())
    sizes = with_gradients(conv2d, *(t.abs() for t in wide), geometry, lambda y: grad.double().abs())
    terms = weight[0].numel() + 1, weight[:, 0].numel() // groups, grad[:, 0].numel()
    eps, stored = torch.finfo(torch.promote_types(dtype, torch.float32)).eps, 2.0**-8 * (dtype is torch.bfloat16)
    for ours, theirs, size, count in zip(found, wanted, sizes, terms, strict=True):
        assert ours.dtype == dtype and ours.shape == theirs.shape
        assert ((ours.double() - theirs).abs() <= (count + 4) * eps * size + stored * theirs.abs()).all()
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    memory_format = torch.channels_last if last else torch.contiguous_format
    assert found[0].is_contiguous(memory_format=memory_format)


@quick
@given(problems(), st.sampled_from(list(MEMORY)), st.sampled_from([None, "relu"]))
def test_a_packed_weight_gives_the_same_values(problem, memory, activation):
    *tensors, stride, padding, dilation, groups = problem
    x, weight, bias = (tensor.float() for tensor in tensors)
    x, geometry = MEMORY[memory](x), (stride, padding, dilation, groups, activation)
    y = prepack_conv2d(weight, bias, *geometry)(x)
    torch.testing.assert_close(y, grouped_conv2d(x, weight, bias, *geometry), rtol=1e-4, atol=1e-4)
