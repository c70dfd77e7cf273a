import os
import subprocess
import sys

import pytest
import torch
from meshes import graph_of, mesh
from torch.library import opcheck

import multipath_gcn
from multipath_gcn import _native
from multipath_gcn.graph import GaugeGraph
from multipath_gcn.ops import gauge_sums, propagate, reference
from multipath_gcn.ops.gauge_sums import _by_matrices

OPS = torch.ops.multipath_gcn
F64 = torch.float64
CASES = [
    (order, out_order, channels) for order in (0, 1, 2, 3) for out_order in (0, 2, 3) for channels in (1, 5, 16, 37)
]


def check_all(dtype=torch.float32):
    """Both operators against their definitions."""
    graph, generator = graph_of(mesh("torus")), torch.Generator().manual_seed(0)
    for order, out_order, channels in CASES:
        wide = torch.promote_types(dtype, torch.float32)
        operands = graph.operands(order, out_order, wide)
        x = torch.randn(112, 2 * order + 1, channels, generator=generator).to(dtype)
        grad = torch.randn(112, 2 * out_order + 1, 2 * order + 1, channels, generator=generator).to(dtype)
        exact = tuple(part.double() if part.is_floating_point() else part for part in operands)
        for op, of, given in (("gauge_sums", "gauge_sums", x), ("gauge_sums_grad", "gauge_sums_grad", grad)):
            wanted = getattr(reference.gauge_sums, of)(given.double(), *exact)
            tolerance = {torch.bfloat16: 2e-2, torch.float32: 1e-5, F64: 1e-12}[dtype]
            torch.testing.assert_close(
                getattr(OPS, op)(given, *operands).double(), wanted, atol=tolerance, rtol=tolerance
            )


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16])
def test_operators_equal_their_definition(dtype):
    check_all(dtype)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_equals_the_definition(isa):
    if _native.mode() == "reference" or isa not in multipath_gcn.build_info().isas:
        pytest.skip(f"{isa} is not in this build or not on this CPU")
    tests = os.path.dirname(os.path.dirname(__file__))
    paths = os.pathsep.join([tests, os.path.dirname(tests), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "MULTIPATH_GCN_ISA": isa, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    run = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env=environment)
    assert run.stdout.endswith(f"{len(CASES)} cases with {isa}\n"), run.stderr


@pytest.mark.parametrize("order", [0, 1, 3])
def test_is_two_sparse_matrices(order):
    """What other devices than the CPU compute."""
    graph, x = graph_of(mesh()), torch.randn(162, 2 * order + 1, 3, dtype=F64)
    torch.testing.assert_close(gauge_sums(graph, x, 2), _by_matrices(graph, x, 2))
    turned = propagate(graph.turned(order), x.flatten(0, 1)).view(graph.source.numel(), -1)  # of order 0 the features
    h = propagate(graph.waves(2), turned).view(162, 5, 2 * order + 1, 3)
    torch.testing.assert_close(gauge_sums(graph, x, 2), h)


def small():
    data = mesh("torus")
    keep = (data.edge_index < 9).all(0)
    return GaugeGraph(data.edge_index[:, keep], data.angle[keep], data.transport[keep], 9)


@pytest.mark.parametrize("order", [0, 2])
def test_gradients_of_any_order(order):
    graph, x = small(), torch.randn(9, 2 * order + 1, 2, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gauge_sums(graph, x, 1), (x,))
    assert torch.autograd.gradgradcheck(lambda x: gauge_sums(graph, x, 1).square(), (x,))


def test_opcheck():
    graph = small()
    operands = graph.operands(2, 1, torch.float32)
    opcheck(OPS.gauge_sums.default, (torch.randn(9, 5, 3, requires_grad=True), *operands))
    opcheck(OPS.gauge_sums_grad.default, (torch.randn(9, 3, 5, 3, requires_grad=True), *operands))


def test_bits_do_not_depend_on_the_threads():
    graph, x = graph_of(mesh()), torch.randn(162, 5, 70)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            leaf = x.clone().requires_grad_()
            y = gauge_sums(graph, leaf, 2)
            (grad,) = torch.autograd.grad(y.square().sum(), leaf)
            found.append((y.detach(), grad))
    finally:
        torch.set_num_threads(before)
    assert all(y.equal(found[0][0]) and grad.equal(found[0][1]) for y, grad in found)


def test_strided_features():
    graph, x = graph_of(mesh()), torch.randn(162, 4, 5).mT
    torch.testing.assert_close(gauge_sums(graph, x, 1), gauge_sums(graph, x.contiguous(), 1))


@pytest.mark.parametrize("shape", [(161, 5, 3), (162, 4, 3), (162, 5)])
def test_wrong_shapes(shape):
    with pytest.raises(ValueError, match=r"x must have shape \[162, 2L\+1, C\]"):
        gauge_sums(graph_of(mesh()), torch.zeros(shape), 1)


@pytest.mark.skipif(_native.mode() == "reference", reason="definitions check nothing")
def test_operators_refuse_what_could_touch_other_memory():
    turn, wave, rowptr, col, *rest = small().operands(1, 1, torch.float32)
    x = torch.zeros(9, 3, 2)
    for args, message in (
        ((x, turn, wave, rowptr, col + 9, *rest), "col must lie in"),
        ((x[:, :1], turn, wave, rowptr, col, *rest), "x must have shape"),
        ((x, turn[:-1], wave, rowptr, col, *rest), "turn must have shape"),
        ((x, turn, wave.double(), rowptr, col, *rest), "wave must be contiguous float32"),
        ((x, turn, wave, rowptr + 1, col, *rest), "col must lie in"),
        ((x, turn, wave, rowptr.int(), col, *rest), "rowptr must be contiguous int64"),
    ):
        with pytest.raises(RuntimeError, match=message):
            OPS.gauge_sums(*args)
    rowptr_t, col_t, edge_t = rest
    grad = torch.zeros(9, 3, 3, 2)
    for changed in ((rowptr_t + 1, col_t, edge_t), (rowptr_t, col_t - 9, edge_t), (rowptr_t, col_t, edge_t + 99)):
        with pytest.raises(RuntimeError, match="col must lie in .*, edge and rowptr in"):
            OPS.gauge_sums_grad(grad, turn, wave, rowptr, col, *changed)


if __name__ == "__main__":
    check_all()
    print(f"{len(CASES)} cases with {multipath_gcn.build_info().isa}")
