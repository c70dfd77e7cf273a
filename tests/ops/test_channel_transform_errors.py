import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from multipath_gcn import _native
from multipath_gcn.ops import ChannelWindows, channel_transform, channel_transform_2d

WINDOWS = ChannelWindows.sliding(6, 5, 2, "1/3")
X, IMAGE, WEIGHT, BIAS = torch.randn(4, 6), torch.randn(2, 6, 3, 3), torch.randn(5, 3), torch.randn(5)
OPS = torch.ops.multipath_gcn
START, ORDER = WINDOWS.on("cpu")

ILLEGAL = [
    (channel_transform, (torch.randn(4, 7), WEIGHT, WINDOWS), "x must have 6 channels, got shape [4, 7]"),
    (channel_transform, (torch.randn(4, 5), WEIGHT, WINDOWS), "x must have 6 channels, got shape [4, 5]"),
    (channel_transform, (torch.tensor(1.0), WEIGHT, WINDOWS), "x must have shape [*, C], got []"),
    (channel_transform_2d, (X, WEIGHT, WINDOWS), "x must have shape [N, C, H, W], got [4, 6]"),
    (channel_transform_2d, (IMAGE[0], WEIGHT, WINDOWS), "x must have shape [N, C, H, W], got [6, 3, 3]"),
    (channel_transform_2d, (IMAGE.mT.mT[:, 1:], WEIGHT, WINDOWS), "x must have 6 channels, got shape [2, 5, 3, 3]"),
    (channel_transform, (X, WEIGHT.t(), WINDOWS), "weight must have shape [5, 3], got [3, 5]"),
    (channel_transform, (X, WEIGHT[:, :, None, None], WINDOWS), "weight must have shape [5, 3], got [5, 3, 1, 1]"),
    (channel_transform, (X, torch.randn(5, 6), WINDOWS), "weight must have shape [5, 3], got [5, 6]"),
    (channel_transform, (X, WEIGHT, WINDOWS, BIAS[:1]), "bias must have shape [5], got [1]"),
    (channel_transform, (X, WEIGHT, WINDOWS, torch.tensor(1.0)), "bias must have shape [5], got []"),
    (channel_transform, (X, WEIGHT, WINDOWS, BIAS[None]), "bias must have shape [5], got [1, 5]"),
    (channel_transform, (X, WEIGHT.double(), WINDOWS), "weight must be of the type of x (torch.float32), got torch.float64"),
    (channel_transform, (X.bfloat16(), WEIGHT, WINDOWS), "weight must be of the type of x (torch.bfloat16), got torch.float32"),
    (channel_transform, (X, WEIGHT, WINDOWS, BIAS.half()), "bias must be of the type of x (torch.float32), got torch.float16"),
    (channel_transform, (X.long(), WEIGHT.long(), WINDOWS), "x must be of type float32, float64, bfloat16 on cpu, got torch.int64"),
    (channel_transform, (X.bool(), WEIGHT, WINDOWS), "x must be of type float32, float64, bfloat16 on cpu, got torch.bool"),
    (channel_transform, (X.cfloat(), WEIGHT.cfloat(), WINDOWS), "x must be of type float32, float64, bfloat16 on cpu, got torch.complex64"),
    (channel_transform, (X.half(), WEIGHT.half(), WINDOWS), "x must be of type float32, float64, bfloat16 on cpu, got torch.float16"),
    (channel_transform, (X, WEIGHT, WINDOWS, None, "tanh"), "activation must be None or \"relu\", got 'tanh'"),
    (channel_transform, (X, WEIGHT, WINDOWS, None, True), 'activation must be None or "relu", got True'),
    (channel_transform, (X, WEIGHT, None), "windows must be ChannelWindows, got NoneType"),
    (channel_transform, (X, WEIGHT, [0, 2, 4]), "windows must be ChannelWindows, got list"),
    (channel_transform, (X.tolist(), WEIGHT, WINDOWS), "x must be a tensor, got list"),
    (channel_transform, (X.numpy(), WEIGHT, WINDOWS), "x must be a tensor, got ndarray"),
    (channel_transform, (X, None, WINDOWS), "weight must be a tensor or a PackedWeight, got NoneType"),
    (channel_transform, (X, WEIGHT, WINDOWS, 0.5), "bias must be a tensor or None, got float"),
]  # fmt: skip
IDS = [f"{i} {sentence[:50]}" for i, (_, _, sentence) in enumerate(ILLEGAL)]


def converted(args, convert):
    return [convert(a) if isinstance(a, torch.Tensor) else a for a in args]


@pytest.mark.parametrize(("function", "args", "sentence"), ILLEGAL, ids=IDS)
def test_illegal_arguments_are_named(function, args, sentence):
    with pytest.raises(ValueError) as caught:
        function(*args)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("function", "args", "sentence"), ILLEGAL, ids=IDS)
def test_fake_tensors_meet_the_same_rules(function, args, sentence):
    mode = FakeTensorMode()
    with mode, pytest.raises(ValueError) as caught:
        function(*converted(args, mode.from_tensor))
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("function", "args", "sentence"), [i for i in ILLEGAL if "float16" not in i[2].split("got")[1]]
)
def test_meta_tensors_meet_the_same_rules(function, args, sentence):
    with pytest.raises(ValueError) as caught:
        function(*converted(args, lambda t: t.to("meta")))
    assert str(caught.value) == sentence.replace("float64, bfloat16 on cpu", "float64, bfloat16 or float16 on meta")


@pytest.mark.parametrize("place", [0, 1, 3])
def test_mixed_devices(place):
    args = [X, WEIGHT, WINDOWS, BIAS]
    args[place] = args[place].to("meta")
    name, x, other = ("weight", "meta", "cpu") if place == 0 else (("weight", "bias")[place // 3], "cpu", "meta")
    with pytest.raises(ValueError, match=rf"{name} must be on the device of x \({x}\), got {other}"):
        channel_transform(*args)


@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_sparse_tensors(name):
    tensors = {"x": X, "weight": WEIGHT, "bias": BIAS}
    tensors[name] = tensors[name].to_sparse()
    with pytest.raises(ValueError, match=f"{name} must be a dense tensor, got layout torch.sparse_coo"):
        channel_transform(tensors["x"], tensors["weight"], WINDOWS, tensors["bias"])


# Operators called by their bare names keep from memory what is not theirs: with real tensors, and as a trace

BARE = [
    lambda: OPS.channel_transform(torch.randn(4, 12), torch.randn(5, 40), None, START, ORDER, -1, False),
    lambda: OPS.channel_transform(X, WEIGHT, None, START[:4], ORDER[:4], -1, False),
    lambda: OPS.channel_transform(X, WEIGHT, None, START.long(), ORDER, -1, False),
    lambda: OPS.channel_transform(X, WEIGHT, None, START, ORDER[:4], -1, False),
    lambda: OPS.channel_transform(X, WEIGHT, BIAS[:4], START, ORDER, -1, False),
    lambda: OPS.channel_transform(X, WEIGHT.double(), None, START, ORDER, -1, False),
    lambda: OPS.channel_transform(X.long(), WEIGHT.long(), None, START, ORDER, -1, False),
    lambda: OPS.channel_transform(X, WEIGHT[0], None, START, ORDER, -1, False),
    lambda: OPS.channel_transform(X, WEIGHT, None, START, ORDER, 1, False),
    lambda: OPS.channel_transform(X, WEIGHT, None, START, ORDER, 0, False),
    lambda: OPS.channel_transform(IMAGE, WEIGHT, None, START, ORDER, 2, False),
    lambda: OPS.channel_transform_input_grad(X, WEIGHT, START, ORDER, 6, -1),
    lambda: OPS.channel_transform_input_grad(torch.randn(4, 5), WEIGHT, START, ORDER, 2, -1),
    lambda: OPS.channel_transform_input_grad(torch.randn(4, 5), WEIGHT, START, ORDER, -6, -1),
    lambda: OPS.channel_transform_weight_grad(torch.randn(3, 5), X, START, ORDER, 3, -1),
    lambda: OPS.channel_transform_weight_grad(torch.randn(4, 6), X, START, ORDER, 3, -1),
    lambda: OPS.channel_transform_weight_grad(torch.randn(4, 5), X, START, ORDER, 7, -1),
    lambda: OPS.channel_transform_weight_grad(torch.randn(4, 5), X, START, ORDER, 0, -1),
    lambda: OPS.channel_transform_weight_grad(torch.randn(4, 5), X.double(), START, ORDER, 3, -1),
    lambda: OPS.channel_transform_pack(WEIGHT, START, ORDER, 2),
    lambda: OPS.channel_transform_pack(WEIGHT[0], START, ORDER, 6),
    lambda: OPS.channel_transform_packed(X, torch.zeros(3).byte(), None, START, ORDER, 5, 3, -1, False),
    lambda: OPS.channel_transform_packed(X, WEIGHT, None, START, ORDER, 5, 3, -1, False),
]


@pytest.mark.skipif(_native.mode() == "reference", reason="Python's own bounds are enough")
@pytest.mark.parametrize("call", BARE, ids=range(len(BARE)))
def test_bare_operators_refuse_what_does_not_fit(call):
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        call()


@pytest.mark.parametrize("call", BARE[:-4], ids=range(len(BARE) - 4))
def test_a_trace_refuses_what_the_kernel_refuses(call):
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, pytest.raises((RuntimeError, ValueError, IndexError)):
        call()


@pytest.mark.parametrize("order", [[5, -1, 7, 2**31 - 1, -(2**31)], [0, 0, 0, 0, 0]])
def test_an_order_that_is_none_harms_nobody(order):
    """Values of ``order`` are not checked by Python: the kernel must stay in its memory whatever they are."""
    order = torch.tensor(order, dtype=torch.int32)
    for call in (
        lambda: OPS.channel_transform(X, WEIGHT, None, START, order, -1, False),
        lambda: OPS.channel_transform_input_grad(torch.randn(4, 5), WEIGHT, START, order, 6, -1),
        lambda: OPS.channel_transform_weight_grad(torch.randn(4, 5), X, START, order, 3, -1),
    ):
        try:
            call()
        except (RuntimeError, ValueError) as error:
            assert "order must be a permutation" in str(error)
