"""Networks of PyTorch's own layers compute the same, and go through its exporters."""

import numpy as np
import pytest
import torch
from torch import nn

from multipath_gcn.models import VGG, MobileNet, ResNet
from multipath_gcn.nn import ChannelConv2d, ChannelLinear, DepthwiseSeparableConv2d, GroupedConv2d, to_stock
from multipath_gcn.ops import ChannelWindows

OURS = (GroupedConv2d, ChannelConv2d, ChannelLinear, DepthwiseSeparableConv2d)
STANDARD = {"", "aten"}
WINDOWS = {
    "dense": ChannelWindows.dense(8, 12),
    "grouped": ChannelWindows.grouped(8, 12, 4),
    "sliding": ChannelWindows.sliding(8, 12, 4, 0.5),
    "no overlap": ChannelWindows.sliding(8, 12, 4, 0),
    "uneven": ChannelWindows.sliding(8, 13, 2, 0.25),
    "any": ChannelWindows([3, 3, 0, 7, 6], 3, 8),
    "one window": ChannelWindows([5, 5], 4, 8),
}


def networks():
    for pointwise in (dict(pointwise="sliding", groups=4, overlap=0.5), dict(pointwise="grouped"), {}):
        for build in (MobileNet, VGG, ResNet):
            yield pytest.param(build, pointwise, id=f"{build.__name__}-{pointwise.get('pointwise', 'dense')}")


def network(build, pointwise):
    def convolution(*args, **kwargs):
        return DepthwiseSeparableConv2d(*args, **kwargs, **pointwise, norm_between=build is MobileNet)

    model = build(3, 10, width=0.25, convolution=convolution)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3), nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("bias", [True, False])
def test_transforms_of_any_windows(name, bias):
    for kind, shape in ((ChannelConv2d, (2, 8, 5, 5)), (ChannelLinear, (2, 3, 8))):
        layer = kind(WINDOWS[name], bias=bias)
        stock, x = to_stock(layer), torch.randn(shape)
        torch.testing.assert_close(stock(x), layer(x))
        assert not any(isinstance(module, OURS) for module in stock.modules())


def test_grouped_convolutions_keep_what_they_have():
    layer = GroupedConv2d(4, 8, 3, 2, 1, 2, groups=2, bias=False, padding_mode="reflect")
    stock, x = to_stock(layer), torch.randn(2, 4, 9, 9)
    assert type(stock) is nn.Conv2d
    torch.testing.assert_close(stock(x), layer(x))
    assert stock.weight is not layer.weight and torch.equal(stock.weight, layer.weight)


def test_single_images_uneven_padding_and_subclasses():
    layer, x = ChannelConv2d(WINDOWS["no overlap"]), torch.randn(8, 12, 12)
    torch.testing.assert_close(to_stock(layer)(x), layer(x))
    layer = DepthwiseSeparableConv2d(8, 12, 3, padding=((0, 1), (2, 1)), norm_between=True).eval()
    torch.testing.assert_close(to_stock(layer)(x[None]), layer(x[None]))

    class Twice(GroupedConv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    layer = Twice(8, 4, 3)
    torch.testing.assert_close(to_stock(layer)(x), layer(x))


@pytest.mark.parametrize(("build", "pointwise"), list(networks()))
def test_networks_go_through_export(build, pointwise):
    model = network(build, pointwise)
    x = torch.randn(2, 3, 32, 32)
    wanted, stock = model(x), to_stock(model)
    torch.testing.assert_close(stock(x), wanted, rtol=1e-4, atol=1e-5)
    ours, plain = torch.export.export(model, (x,)), torch.export.export(stock, (x,))
    torch.testing.assert_close(ours.module()(x), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain.module()(x), wanted, rtol=1e-4, atol=1e-5)
    named = [str(node.target) for node in plain.graph.nodes if node.op == "call_function"]
    assert not [name for name in named if "multipath_gcn" in name]


@pytest.mark.parametrize(("build", "pointwise"), list(networks()))
def test_networks_agree_in_onnx_runtime(build, pointwise, tmp_path):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = network(build, pointwise)
    x = torch.randn(2, 3, 32, 32)
    path = tmp_path / "network.onnx"
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(to_stock(model), (x,), path, dynamo=True, dynamic_shapes=(batch,), verbose=False)
    domains = {opset.domain for opset in onnx.load(path).opset_import}
    assert domains <= {"", "ai.onnx"}  # standard operators alone
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for images in (x, torch.randn(5, 3, 32, 32)):
        (scores,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        np.testing.assert_allclose(scores, model(images).detach().numpy(), rtol=1e-4, atol=1e-4)
