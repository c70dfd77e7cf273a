import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from multipath_gcn.nn import ConvBlock, PackedUnevenGroupedConv2d, UnevenGroupedConv2d, prepack
from multipath_gcn.ops import PackedUnevenConv2d, reference
from multipath_gcn.ops.native import OPS

FORMATS = (torch.contiguous_format, torch.channels_last)
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 3e-2}
# channels, filters and channels of each group, kernel, geometry, image: off every tile's edge, several bands, many filters
CASES = [
    (6, [(2, 3), (3, 2), (1, 1)], 3, {"padding": 1}, (2, 9, 8)),
    (40, [(13, 25), (4, 40), (1, 1), (7, 9)], 3, {"padding": 1}, (1, 17, 33)),
    (300, [(5, 300), (3, 100)], 3, {"padding": 1}, (1, 40, 21)),
    (9, [(5, 4), (2, 9)], (2, 5), {"stride": (2, 1), "dilation": 2, "padding": (3, 4)}, (3, 11, 30)),
    (16, [(8, 6), (8, 5), (9, 16)], 1, {}, (4, 5, 5)),
    (7, [(3, 2), (5, 7)], 3, {"stride": 2, "padding": "valid"}, (2, 7, 3)),
    (4, [(2, 1)], 4, {"padding": "same"}, (1, 2, 2)),
]


def layer_of(case, dtype=torch.float32, order=True):
    channels, groups, kernel, geometry, (batch, *size) = case
    torch.manual_seed(0)
    inputs = [torch.randperm(channels)[:count].tolist() for _, count in groups]
    filters = [count for count, _ in groups]
    order = torch.randperm(sum(filters)).tolist() if order else None
    layer = UnevenGroupedConv2d(inputs, filters, kernel, **geometry, order=order).to(dtype)
    return layer.requires_grad_(False), torch.randn(batch, channels, *size).to(dtype)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_layer(case, dtype, memory_format):
    layer, x = layer_of(case, dtype)
    wanted = layer.double()(x.double())
    packed = layer.to(dtype).prepack()
    y = packed(x.contiguous(memory_format=memory_format))
    assert y.dtype is dtype and y.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(y.double(), wanted, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    torch.testing.assert_close(packed(x[0]), packed(x)[0])


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_norm_residual_and_activation_are_part_of_the_call(case, memory_format):
    layer, x = layer_of(case)
    norm = nn.BatchNorm2d(layer.out_channels)
    for part in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(part)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    norm.eval().requires_grad_(False)
    residual = torch.randn_like(layer(x)).contiguous(memory_format=memory_format)
    y = layer.prepack(norm, "relu")(x, residual)
    torch.testing.assert_close(y, F.relu(norm(layer(x)) + residual), atol=1e-4, rtol=1e-4)
    assert type(prepack(ConvBlock(layer, layer.out_channels))) is PackedUnevenGroupedConv2d


@pytest.mark.parametrize("case", CASES)
def test_any_number_of_threads_gives_the_same_bits(case):
    layer, x = layer_of(case)
    packed, threads = layer.prepack(), torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(packed(x))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0], result) for result in results)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_the_definition_agrees(case, memory_format):
    layer, x = layer_of(case)
    x = x.contiguous(memory_format=memory_format)
    packed = layer.prepack().convolution
    arguments = x, packed.weight, packed.layout, packed.bias, torch.ones_like(packed(x))
    found, wanted = OPS.uneven_conv2d(*arguments), reference.uneven_conv2d.uneven_conv2d(*arguments)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert found.stride() == wanted.stride()
    torch.library.opcheck(OPS.uneven_conv2d.default, arguments, test_utils=("test_schema",))


def test_empty_batches_and_copies():
    layer, x = layer_of(CASES[0])
    packed = layer.prepack()
    assert packed(x[:0]).shape == (0, 6, 9, 8)
    assert copy.deepcopy(packed).convolution is packed.convolution
    assert not packed.state_dict() and "3 groups, 6 filters" in str(packed)
    before = packed(x)
    layer.weight0.zero_()
    assert torch.equal(packed(x), before)


def test_it_is_compiled():
    layer, x = layer_of(CASES[0])
    packed = layer.prepack(None, "relu")
    compiled = torch.compile(packed, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), packed(x))


WEIGHTS = [torch.ones(2, 1, 3, 3), torch.ones(1, 2, 3, 3)]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"weights": []}, r"weights, inputs and outputs must have the same length, at least 1, got 0, 2 and 2"),
        ({"inputs": [[0, 1], [1, 2]]}, r"weight of group 0 must be \[2, 2, R, S\] without 0, got \[2, 1, 3, 3\]"),
        ({"inputs": [[-1], [1, 2]]}, r"inputs must be numbers of channels, group 0 reads \[-1\]"),
        ({"outputs": [[0, 1], [1]]}, r"outputs must be a permutation of 0..2, got \[\[0, 1\], \[1\]\]"),
        ({"bias": torch.ones(2)}, r"bias must be \[3\] of torch.float32 on cpu, got \[2\]"),
        ({"activation": "tanh"}, r"activation must be None or \"relu\", got 'tanh'"),
        ({"weights": [WEIGHTS[0], WEIGHTS[1].double()]}, r"weights must be of one type, device and kernel size"),
        ({"weights": [t.int() for t in WEIGHTS]}, r"weights must be of type float32"),
    ],
)
def test_what_does_not_fit_is_refused(change, rule):
    given = {"weights": WEIGHTS, "inputs": [[0], [1, 2]], "outputs": [[0, 2], [1]]}
    with pytest.raises(ValueError, match=rule):
        PackedUnevenConv2d(**(given | change))


def test_images_that_do_not_fit_are_refused():
    packed = PackedUnevenConv2d(WEIGHTS, [[0], [1, 2]], [[0, 2], [1]])
    for x, rule in [
        (torch.ones(1, 2, 5, 5), r"x must have at least 3 channels, got \[1, 2, 5, 5\]"),
        (torch.ones(5, 5), r"x must have shape \[N, C, H, W\]"),
        (torch.ones(1, 3, 2, 5), r"the kernel must fit the padded height of x \(2\)"),
        (torch.ones(1, 3, 5, 5).double(), r"x must be like the packed weight"),
        (torch.ones(1, 3, 5, 5, requires_grad=True), r"x must not require a gradient"),
        ([1], r"x must be a tensor"),
    ]:
        with pytest.raises(ValueError, match=rule):
            packed(x)
    with pytest.raises(ValueError, match=r"residual must have the shape of the output, \[1, 3, 3, 3\]"):
        packed(torch.ones(1, 3, 5, 5), torch.ones(1, 3, 5, 5))


@pytest.mark.parametrize(
    ("layout", "rule"),
    [
        ([2, 1, 1, 0, 0, 0, 0], r"layout must have the channels and filters of every group"),
        ([1, 1, 1, 3, 0], r"layout must name channels of x, \[0, 3\), got 3"),
        ([1, 1, 1, 0, 1], r"layout must give every output channel of 1 once, got 1"),
        ([1, 1, 1, 0, 0, 0], r"layout must end with its last group, 1 entries are left"),
        ([9, 1, 1, 0, 0], r"layout must have filters and channels of every group, got 9 groups and 4 entries"),
        ([], r"layout must be a list of int64"),
        ([1, 1, 2**62, 0, 0], r"layout must have the channels and filters of every group"),
    ],
)
def test_a_layout_that_leads_out_of_memory_is_refused(layout, rule):
    x, weight = torch.ones(1, 3, 4, 4), torch.ones(9)
    with pytest.raises(RuntimeError, match=rule):
        OPS.uneven_conv2d(x, weight, torch.tensor([3, 3, 1, 1, 0, 0, 0, 0, 1, 1, 0, *layout]), None, None)
