"""A readout of paths side by side, one of which is the features themselves."""

import graphs
import pytest
import torch
from torch.nn import functional as F

from multipath_gcn.nn import MultiPathGCN

WIDTH = 11


def features(dtype=torch.float64):
    return F.dropout(torch.rand(graphs.N, WIDTH, dtype=dtype), 0.6)


def network(**options):
    return MultiPathGCN(WIDTH, 8, 3, stem=0, paths=((8, 4), (), (6,)), combine="concat", **options)


def put_together(model, x):
    """f of the concatenation, as it is written down."""
    outputs, _ = model._outputs(x, graphs.SIMPLE, None)
    return model.readout(torch.cat(outputs, dim=-1))


@pytest.mark.parametrize("is_batch", [False, True])
def test_values_and_gradients_are_those_of_the_concatenation(is_batch):
    model = network().double()
    x = features() if not is_batch else torch.stack([features(), features()])
    found = []
    for call in (lambda: model(x, graphs.SIMPLE), lambda: put_together(model, x)):
        model.zero_grad()
        x.requires_grad_().grad = None
        scores = call()
        scores.square().sum().backward()
        found.append([scores.detach(), x.grad, *(p.grad.clone() for p in model.parameters())])
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted)


def test_sparse_features_stay_sparse():
    model, x = network(), features(torch.float32)
    grads = []
    for form in (x, x.to_sparse_csr()):
        model.zero_grad()
        scores = model(form, graphs.SIMPLE)
        scores.square().sum().backward()
        grads.append([scores.detach(), *(p.grad.clone() for p in model.parameters())])
    for dense, sparse in zip(*grads, strict=True):
        torch.testing.assert_close(sparse, dense)
    shapes = saved_shapes(lambda: model(x.to_sparse_csr(), graphs.SIMPLE))
    assert shapes and (graphs.N, WIDTH) not in shapes


def test_no_tensor_holds_all_paths():
    model, x = network(), features(torch.float32)
    joined = graphs.N, 4 + WIDTH + 6
    assert joined in saved_shapes(lambda: put_together(model, x))
    assert joined not in saved_shapes(lambda: model(x, graphs.SIMPLE))


def saved_shapes(call):
    shapes = set()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: shapes.add(tuple(t.shape)) or t, lambda t: t):
        call()
    return shapes


def test_a_hook_on_the_readout_sees_the_concatenation():
    model, x = network(), features(torch.float32)
    expected, seen = model(x, graphs.SIMPLE), []
    model.readout.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    torch.testing.assert_close(model(x, graphs.SIMPLE), expected)
    assert seen == [(graphs.N, 4 + WIDTH + 6)]


@pytest.mark.parametrize("is_sparse", [False, True])
def test_left_out_paths_and_dropped_features(is_sparse):
    model, x = network(path_dropout=0.5, input_dropout=0.5), features(torch.float32)
    x = x.to_sparse_csr() if is_sparse else x
    torch.manual_seed(0)
    scores = model(x, graphs.SIMPLE)
    scores.square().sum().backward()
    assert scores.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.eval()
    torch.testing.assert_close(model(x, graphs.SIMPLE), put_together(model, x.to_dense()))


def test_autocast_and_inference():
    model, x = network().eval(), features(torch.float32)
    expected = model(x, graphs.SIMPLE)
    for form in (x, x.to_sparse_csr()):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(model(form, graphs.SIMPLE).float(), expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(model.inference(graphs.SIMPLE, x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(x, graphs.SIMPLE).dtype is put_together(model, x).dtype
