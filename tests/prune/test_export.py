"""Pruned networks leave for ONNX like any others."""

import pytest
import torch
from zoo import case

from multipath_gcn.nn import to_stock
from multipath_gcn.prune import by_chance, cut, find_channels, load_pruned, save_pruned

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.mark.parametrize("name", ["vgg", "resnet18", "mobilenet", "sliding", "grouped", "separable", "concat"])
def test_onnx_runtime_agrees(name, tmp_path):
    found = case(name)
    model, inputs = found.make().eval(), found.inputs()
    order = by_chance(model, find_channels(model, *inputs))
    plan = order.plan(len(order) // 3)
    cut(model, plan)
    save_pruned(tmp_path, model, plan)
    loaded = load_pruned(tmp_path, found.make().eval())
    torch.onnx.export(to_stock(loaded), inputs, tmp_path / "model.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (y,) = session.run(None, {session.get_inputs()[0].name: inputs[0].numpy()})
    torch.testing.assert_close(torch.from_numpy(y), model(*inputs), rtol=1e-4, atol=1e-4)
