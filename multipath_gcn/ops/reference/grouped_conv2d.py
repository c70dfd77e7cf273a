"""Grouped convolution of images and its gradients in plain PyTorch: the definition that every kernel is tested against.

    y[n, g K + k, i, j] = relu(bias[g K + k] + sum_{c, r, s} weight[g K + k, c, r, s]
                               x[n, g C + c, i stride[0] + r dilation[0] - top, j stride[1] + s dilation[1] - left])

with C channels and K filters a group; ``padding`` is (top, bottom, left, right). Values are widened to float32 at
least.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from multipath_gcn.ops.reference.channel_transform import memory_format


def grouped_conv2d(x, weight, bias, stride, padding, dilation, groups, relu) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    if x.size(0) == 0 or weight.size(0) == 0:
        y = x.new_empty(x.size(0), weight.size(0), *_out_size(x, weight, stride, padding, dilation))
    else:
        bias = None if bias is None else bias.to(wide)
        y = F.conv2d(_padded(x.to(wide), padding), weight.to(wide), bias, stride, 0, dilation, groups)
    return _like(x, y.relu() if relu else y)


def grouped_conv2d_input_grad(grad, weight, size, stride, padding, dilation, groups) -> Tensor:
    wide = torch.promote_types(grad.dtype, torch.float32)
    top, bottom, left, right = padding
    padded = (grad.size(0), weight.size(1) * groups, size[0] + top + bottom, size[1] + left + right)
    if grad.numel() == 0 or weight.numel() == 0:
        dx = grad.new_zeros(padded, dtype=wide)
    else:
        dx = torch.nn.grad.conv2d_input(padded, weight.to(wide), grad.to(wide), stride, 0, dilation, groups)
    return _like(grad, dx[:, :, top : top + size[0], left : left + size[1]])


def grouped_conv2d_weight_grad(grad, x, kernel_size, stride, padding, dilation, groups) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    shape = (grad.size(1), x.size(1) // groups, *kernel_size)
    if grad.numel() == 0:
        return x.new_zeros(shape)
    x_padded = _padded(x.to(wide), padding)
    return torch.nn.grad.conv2d_weight(x_padded, shape, grad.to(wide), stride, 0, dilation, groups).to(x.dtype)


def grouped_conv2d_gradients(grad, x, weight, stride, padding, dilation, groups) -> tuple[Tensor, Tensor]:
    of = stride, padding, dilation, groups
    return (
        grouped_conv2d_input_grad(grad, weight, x.shape[2:], *of),
        grouped_conv2d_weight_grad(grad, x, weight.shape[2:], *of),
    )


def grouped_conv2d_pack(weight, stride, padding, dilation, groups, relu) -> Tensor:
    """Sizes and options as numbers, then the weight: float64 holds all of them exactly."""
    header = [*weight.shape, *stride, *padding, *dilation, groups, relu]
    return torch.cat([torch.tensor(header, dtype=torch.float64), weight.double().flatten()])


def grouped_conv2d_packed(x, packed, bias, residual) -> Tensor:
    """A residual is one more term of the sum, in the wide type."""
    *of, groups, relu = packed[:14].long().tolist()
    weight = packed[14:].to(x.dtype).view(of[:4])
    of = of[4:6], of[6:10], of[10:12], groups
    if residual is None:
        return grouped_conv2d(x, weight, bias, *of, bool(relu))
    wide = torch.promote_types(x.dtype, torch.float32)
    bias = None if bias is None else bias.to(wide)
    y = grouped_conv2d(x.to(wide), weight.to(wide), bias, *of, False) + residual
    return _like(x, y.relu() if relu else y)


def grouped_conv2d_kernel(x, weight_size, stride, padding, dilation, groups, place) -> str:
    return "reference"


def _padded(x: Tensor, padding) -> Tensor:
    top, bottom, left, right = padding
    return F.pad(x, (left, right, top, bottom))


def _out_size(x, weight, stride, padding, dilation) -> list[int]:
    pads = padding[0] + padding[1], padding[2] + padding[3]
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    return [(n + p - e) // s + 1 for n, p, e, s in zip(x.shape[2:], pads, extents, stride, strict=True)]


def _like(x: Tensor, y: Tensor) -> Tensor:
    return y.to(x.dtype).contiguous(memory_format=memory_format(x, 1))
