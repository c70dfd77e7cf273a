"""Convolution in groups that read channels of their own choice, in plain PyTorch.

    y[n, o_g[k], i, j] = relu(bias[o_g[k]] + residual[n, o_g[k], i, j] + sum_{c, r, s} weight_g[k, c, r, s]
                              x[n, S_g[c], i stride[0] + r dilation[0] - top, j stride[1] + s dilation[1] - left])

``layout`` is kernel size, stride, padding (top, bottom, left, right), dilation, whether there is a ReLU, the number of
groups; filters and channels of each; then for each the channels S_g and the places o_g.
"""

import torch
from torch import Tensor

from multipath_gcn.ops.reference.channel_transform import memory_format
from multipath_gcn.ops.reference.grouped_conv2d import grouped_conv2d


def uneven_conv2d(x, weight, layout, bias, residual) -> Tensor:
    kernel_size, stride, padding, dilation, (relu, groups), numbers = layout.split([2, 2, 4, 2, 2, len(layout) - 12])
    of = stride.tolist(), padding.tolist(), dilation.tolist()
    sizes, entries = numbers[: 2 * groups].tolist(), numbers[2 * groups :].to(x.device)
    parts, places = [], []
    for filters, channels in zip(sizes[::2], sizes[1::2], strict=True):
        inputs, outputs, entries = entries.split([channels, filters, len(entries) - channels - filters])
        taps = filters * channels * int(kernel_size.prod())
        own, weight = weight.split([taps, len(weight) - taps])
        own = own.view(filters, channels, *kernel_size.tolist())
        wide = x.index_select(1, inputs).to(own.dtype)
        parts.append(grouped_conv2d(wide, own, None, *of, 1, False))
        places.append(outputs)
    y = torch.cat(parts, 1)
    y = torch.empty_like(y).index_copy_(1, torch.cat(places), y)
    y = y if bias is None else y + bias[:, None, None]
    y = y if residual is None else y + residual
    y = y.relu() if relu else y
    return y.to(x.dtype).contiguous(memory_format=memory_format(x, 1))
