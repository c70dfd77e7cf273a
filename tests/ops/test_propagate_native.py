"""Values of the operators of propagation, against their definitions: ops/reference."""

import os
import subprocess
import sys

import pytest
import sparse_cases
import torch
from sparse_cases import DTYPES, FEATURES, check_all

import multipath_gcn
from multipath_gcn import _native
from multipath_gcn.ops import reference

OPS = torch.ops.multipath_gcn


@pytest.fixture(autouse=True)
def _one_thread():
    """Tensors so small are not worth another; test_bits_do_not_depend_on_the_threads has its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [0, *FEATURES])
def test_operators_equal_their_definition(features, dtype):
    for seed in range(3):
        check_all(OPS, reference, features, dtype, seed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", FEATURES)
def test_results_ties_and_masks_are_the_same_bits_where_sums_are_exact(features, dtype):
    for seed in range(3):
        check_all(OPS, reference, features, dtype, seed, integers=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", FEATURES)
def test_gradients_are_propagated_where_their_values_were_kept(features, dtype):
    for case in sparse_cases.cases(features, dtype, integers=True):
        kept = OPS.activate(case.grad, None, case.relu, case.dropout, case.seed if case.dropout else None)[1]
        args = case.grad, *case.transpose, case.matrix[4], case.matrix[3], kept, case.dropout
        y = torch.full((case.x.size(0), features), torch.nan, dtype=dtype)
        expected = y.clone()
        OPS.propagate_out(y, *args)
        reference.propagate.propagate_out(expected, *args)
        assert torch.equal(y, expected), sparse_cases.describe(case)
        sums = OPS.activate_bias_grad(case.grad, kept, case.dropout)
        assert torch.equal(sums, OPS.activate_grad(case.grad, kept, case.dropout)[1])


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "avx512_bf16"])
def test_every_instruction_set_equals_the_definition(isa):
    if _native.mode() == "reference" or isa not in multipath_gcn.build_info().isas:
        pytest.skip(f"{isa} is not in this build or not on this CPU")
    environment = {**os.environ, "MULTIPATH_GCN_ISA": isa, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, sparse_cases.__file__], capture_output=True, text=True, env=environment)
    assert run.stdout.endswith(f"cases equal the definition with {isa}\n"), run.stderr


def test_wrong_values_are_seen():
    """Of the comparison itself: an error of one in the last places is too much."""
    case = next(sparse_cases.cases(7, torch.float32))
    args = (case.x, *case.matrix, *case.transpose)
    y = reference.propagate.propagate(*args)
    sparse_cases.near(y, reference.propagate.propagate, *args, terms=case.terms)
    with pytest.raises(AssertionError, match="from exact"):
        sparse_cases.near(y * (1 + 1e-4), reference.propagate.propagate, *args, terms=case.terms)


def test_the_definition_is_the_formula():
    rowptr, col, weight = torch.tensor([0, 2, 2, 3]), torch.tensor([0, 3, 1]), torch.tensor([2.0, -1.0, 4.0])
    row_scale, col_scale, x = torch.tensor([1.0, 5.0, 0.5]), torch.tensor([1.0, 3.0, 7.0, 2.0]), torch.randn(4, 2)
    dense = torch.tensor([[2.0, 0, 0, -2], [0, 0, 0, 0], [0, 6.0, 0, 0]])
    y = reference.propagate.propagate(x, rowptr, col, weight, row_scale, col_scale, None, None, None)
    torch.testing.assert_close(y, dense @ x)


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [5, 64, 200])
def test_bits_do_not_depend_on_the_threads(features, dtype, index):
    """Many rows, one of them a hub whose columns are shared out."""
    rows, columns = 700, 3000
    stored = torch.rand(rows, columns) < 0.01
    stored[3], stored[100:200] = True, False
    rowptr = torch.cat([torch.zeros(1, dtype=torch.long), stored.sum(1).cumsum(0)]).to(index)
    col = stored.nonzero()[:, 1].to(index)
    sums = torch.promote_types(dtype, torch.float32)
    x, grad = (torch.randn(n, features, dtype=torch.float64).to(dtype) for n in (columns, rows))
    matrix = rowptr, col, torch.randn(col.numel(), dtype=sums), None, torch.randn(columns, dtype=sums)
    last = torch.randn(features).to(dtype), True, 0.4, torch.tensor(7)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        activated = OPS.propagate_activated(x, *matrix, None, None, None, *last)
        results.append(
            [
                OPS.propagate(x, *matrix, None, None, None),
                *activated,
                OPS.propagate_weight_grad(grad, x, *matrix[:2], *matrix[3:]),
                *OPS.propagate_extreme(x, *matrix, None, None, None, True),
                *OPS.activate(x, *last),
                *OPS.activate_grad(grad, activated[1], 0.4),
                OPS.combine([x, x + 1], 0.5),
            ]
        )
    for i, (one, two) in enumerate(zip(*results, strict=True)):
        assert torch.equal(one, two), i


def broken(index):
    """(rowptr, col) of 4 rows, 3 columns, 5 entries that are no such matrix."""
    rowptr, col, far = [0, 2, 2, 4, 5], [0, 1, 2, 0, 1], torch.iinfo(index).max
    for entry, value in ((0, -1), (4, 3), (2, far), (1, -far - 1)):
        yield rowptr, [*col[:entry], value, *col[entry + 1 :]]
    for place, value in ((0, -1), (1, 3), (2, -far - 1), (3, 1), (4, 6), (4, far), (4, -5)):
        yield [*rowptr[:place], value, *rowptr[place + 1 :]], col


@pytest.mark.skipif(_native.mode() == "reference", reason="of the compiled operators")
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [1, 65, 300])
def test_an_index_outside_the_matrix_is_never_followed(features, dtype, index):
    x, grad = torch.ones(3, features, dtype=dtype), torch.ones(4, features, dtype=dtype)
    source = torch.zeros(3, features, dtype=torch.int32)
    for rowptr, col in broken(index):
        matrix = torch.tensor(rowptr, dtype=index), torch.tensor(col, dtype=index)
        values = *matrix, None, None, None
        calls = [
            lambda v=values: OPS.propagate(x, *v, None, None, None),
            lambda v=values: OPS.propagate_activated(x, *v, None, None, None, None, True, 0.0, None),
            lambda m=matrix: OPS.propagate_weight_grad(grad, x, *m, None, None),
            lambda v=values: OPS.propagate_extreme(x, *v, None, None, None, True),
            lambda v=values: OPS.propagate_extreme_grad(x, source, *v),
        ]
        for call in calls:
            with pytest.raises(RuntimeError, match="got an index outside: has the graph been changed"):
                call()


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("features", [1, 5, 70])
def test_a_single_row_of_any_stride(features, rows):
    x = torch.randn(1, features).expand(3, features)[:rows]
    assert x.stride(0) == 0
    matrix = torch.tensor([0, rows, rows]), torch.zeros(rows, dtype=torch.long)
    y = OPS.propagate(x, *matrix, *[None] * 6)
    assert torch.equal(y, torch.cat([x, torch.zeros(2 - rows, features)]))
    assert torch.equal(OPS.activate(x, None, True, 0.0, None)[0], x.relu())
    assert torch.equal(OPS.combine([x, x], 1.0), 2 * x)
