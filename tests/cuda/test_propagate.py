"""The operators of csrc/cuda/propagate.cu and activate.cu equal their definition: emulated everywhere, and on a GPU."""

import random
import subprocess

import pytest
import torch
from matrices import DTYPES, FEATURES, SHAPES, Problem, assert_equal, check_operators, definitions

activate, propagate = definitions()


@pytest.fixture(params=["emulated", "cuda"])
def backend(request):
    """(operators, device)"""
    if request.param == "cuda":
        return torch.ops.multipath_gcn, request.getfixturevalue("cuda")
    return request.getfixturevalue("emulated_operators"), torch.device("cpu")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", FEATURES)
def test_operators_equal_the_definition(backend, features, dtype, monkeypatch):
    (ops, device), pick = backend, random.Random(f"{features} {dtype}")
    for shape in pick.sample(SHAPES, 3):
        monkeypatch.setenv("EMULATED_MULTIPROCESSORS", pick.choice(["1", "200"]))
        monkeypatch.setenv("EMULATED_BLOCKS", pick.choice(["1", "2", ""]))  # blocks that walk from tile to tile
        monkeypatch.setenv("EMULATED_ORDER", pick.choice(["", "reverse"]))
        problem = Problem(*shape, features, dtype, device, pick)
        try:
            check_operators(ops, problem, pick.choice((0, 0.5, 0.75)))
        except AssertionError as error:
            raise AssertionError(str(problem)) from error


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows,columns,features", [(0, 5, 7), (5, 0, 8), (0, 0, 3), (5, 6, 0), (0, 0, 0), (9, 9, 8)])
def test_empty_tensors(backend, rows, columns, features, dtype):
    ops, device = backend
    check_operators(ops, Problem(rows, columns, features, dtype, device, random.Random(0)), dropout=0.5)


@pytest.mark.parametrize("features", [8, 5])
def test_a_matrix_without_entries(backend, features):
    ops, device = backend
    problem = Problem(6, 4, features, torch.float32, device)
    rowptr, col = torch.zeros(7, dtype=torch.int32, device=device), torch.zeros(0, dtype=torch.int32, device=device)
    problem.matrix, problem.transpose = (rowptr, col, None, None, None), (rowptr[:5], col, None, None, None)
    check_operators(ops, problem)


def star(entries, features, dtype, device):
    """One row has nearly all entries, others have few: x, rowptr, col, weight."""
    degree = torch.tensor([3, entries - 53, *[5] * 10])
    rowptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    col = torch.cat([row + torch.arange(n) for row, n in enumerate(degree.tolist())])
    x, weight = torch.randn(int(col.max()) + 1, features), torch.randn(entries)
    weight = weight.to(torch.promote_types(dtype, torch.float32))
    return x.to(device, dtype), rowptr.to(device), col.to(device), weight.to(device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [4, 9])
def test_long_rows_are_rounded_as_others_are(backend, features, dtype):
    """Random values, and a row of many parts."""
    ops, device = backend
    x, rowptr, col, weight = star(4000, features, dtype, device)
    y = ops.propagate(x, rowptr, col, weight, None, None, None, None, None).cpu()
    matrix = rowptr.cpu(), col.cpu(), weight.cpu().double(), None, None, None, None, None
    exact = propagate.propagate(x.cpu().double(), *matrix)
    sizes = propagate.propagate(x.cpu().double().abs(), *matrix[:2], matrix[2].abs(), *matrix[3:])
    sums = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    bound = 4 * sums * sizes.sqrt() * 4000**0.5 + torch.finfo(dtype).eps * exact.abs() + torch.finfo(dtype).tiny
    assert ((y.double() - exact).abs() <= bound).all()


@pytest.mark.parametrize("features", [1, 16, 300])
def test_the_same_bits_for_every_order_of_threads_place_and_stride(backend, features, monkeypatch):
    ops, device = backend
    x, rowptr, col, weight = star(3000, features, torch.float32, device)
    grad = torch.randn(rowptr.numel() - 1, features, device=device)
    bias, seed = torch.randn(features, device=device), torch.tensor([7], device=device)
    nothing = None, None, None, None, None

    def run(x, grad):
        y, kept = ops.propagate_activated(x, rowptr, col, weight, *nothing, bias, True, 0.3, seed)
        extreme, source = ops.propagate_extreme(x, rowptr, col, weight, *nothing, True)
        edges = ops.propagate_weight_grad(grad, x, rowptr, col, None, None)
        return (y, kept, extreme, source, edges, *ops.activate_grad(grad, kept, 0.3))

    first = run(x, grad)
    for blocks, order in (("1", ""), ("3", "reverse"), ("", "reverse")):
        monkeypatch.setenv("EMULATED_BLOCKS", blocks)
        monkeypatch.setenv("EMULATED_ORDER", order)
        for shift, padding in ((0, 0), (1, 0), (0, 1), (4, 4)):
            moved = []
            for t in (x, grad):
                wide = torch.full((t.size(0) * (features + padding) + shift,), torch.nan, device=device)
                moved.append(wide[shift:].view(t.size(0), features + padding)[:, :features].copy_(t))
            for got, want in zip(run(*moved), first, strict=True):
                assert torch.equal(got, want)


def test_a_nan_and_infinities(backend):
    ops, device = backend
    rowptr, col = torch.tensor([0, 3, 5, 6, 6]), torch.tensor([0, 1, 2, 0, 3, 3])
    x = torch.tensor([[1, torch.inf], [torch.nan, -torch.inf], [torch.nan, 2], [3, 4]])
    arrays = [t.to(device) for t in (x, rowptr, col)]
    nothing = (None,) * 6
    for largest in (False, True):
        y, source = ops.propagate_extreme(*arrays, *nothing, largest)
        want, wanted_source = propagate.propagate_extreme(x, rowptr, col, *nothing, largest)
        assert_equal(y.cpu(), want)
        assert_equal(source.cpu(), wanted_source)
        assert source[0, 0] == 1 and source[3].eq(-1).all()  # the first NaN; an empty row
    activation = None, True, 0.0, None
    y, kept = ops.propagate_activated(*arrays, *nothing, *activation)
    want, wanted_kept = propagate.propagate_activated(x, rowptr, col, *nothing, *activation)
    assert_equal(y.cpu(), want)
    assert_equal(kept.cpu(), wanted_kept)
    assert y[0].isnan().all() and not kept[0].any()  # as torch.relu has it


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("entries", [40, 700])
def test_indices_outside_the_matrix_are_not_followed(backend, index, entries):
    """Columns outside it count as absent; rows that do not fit together give anything, from memory that is there."""
    ops, device = backend
    rows, columns, features = 30, 20, 12
    limits = torch.iinfo(index)
    rowptr = torch.randint(entries + 1, (rows + 1,)).sort()[0]
    rowptr[0], rowptr[-1] = 0, entries
    col = torch.randint(columns, (entries,)).to(index)
    x, grad = torch.randint(-3, 4, (columns, features)).float(), torch.randint(-3, 4, (rows, features)).float()
    wild = torch.rand(entries) < 0.5
    row = torch.repeat_interleave(rowptr.diff())[~wild]
    allowed = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(row, minlength=rows).cumsum(0)])
    values = torch.tensor([-1, columns, limits.min, limits.max], dtype=index)
    got_col = torch.where(wild, values[torch.randint(4, (entries,))], col)
    x_there, grad_there, col_there = (t.to(device) for t in (x, grad, got_col))
    rowptr_there, nothing = rowptr.to(device, index), (None,) * 6
    y = ops.propagate(x_there, rowptr_there, col_there, *nothing)
    assert_equal(y.cpu(), propagate.propagate(x, allowed, col[~wild], *nothing))
    dweight = ops.propagate_weight_grad(grad_there, x_there, rowptr_there, col_there, None, None)
    assert not dweight[wild.to(device)].any()
    extreme, _ = ops.propagate_extreme(x_there, rowptr_there, col_there, *nothing, True)
    assert_equal(extreme.cpu(), propagate.propagate_extreme(x, allowed, col[~wild], *nothing, True)[0])

    source = torch.randint(-1, rows, (columns, features), dtype=torch.int32, device=device)
    for _ in range(5):
        anything = torch.randint(limits.min, limits.max, (rows + 1,), dtype=index)
        anything = torch.where(torch.rand(rows + 1) < 0.5, anything, torch.randint(entries, (rows + 1,)).to(index))
        anything = anything.to(device)
        for ends in (nothing, (torch.randn(entries, device=device), *nothing[1:])):
            ops.propagate_activated(x_there, anything, col_there, *ends, None, True, 0.0, None)
            ops.propagate_extreme(x_there, anything, col_there, *ends, False)
            ops.propagate_extreme_grad(x_there, source, anything, col_there, *ends[:3])
        ops.propagate_weight_grad(grad_there, x_there, anything, col_there, None, None)
        if device.type == "cuda":
            torch.cuda.synchronize()


def test_rows_further_apart_than_two_to_the_31_elements(backend):
    ops, device = backend
    if device.type == "cuda" and torch.cuda.mem_get_info()[0] < 5 << 30:
        pytest.skip("too little memory")
    far = 2**31 + 48
    x = torch.empty(far + 40, dtype=torch.bfloat16, device=device).as_strided(
        (2, 40), (far, 1)
    )  # never touched between
    x.copy_(torch.randint(-3, 4, (2, 40)))
    rowptr, col = torch.tensor([0, 1, 3, 3], device=device), torch.tensor([1, 0, 1], device=device)
    y = ops.propagate(x, rowptr, col, None, None, None, None, None, None)
    assert_equal(y.cpu(), torch.stack([x[1], x[0] + x[1], 0 * x[0]]).cpu())
    dweight = ops.propagate_weight_grad(y, x, rowptr, col, None, None)
    assert_equal(dweight.cpu(), torch.stack([y[0] * x[1], y[1] * x[0], y[1] * x[1]]).sum(1, dtype=torch.float32).cpu())


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_slabs_of_rows(backend, dtype):
    """More rows than the sums of a bias gradient are cut into at first, and features in several chunks."""
    ops, device = backend
    for rows, features in ((1500, 1), (300, 700)):
        grad = torch.randint(-1, 2, (rows, features)).to(device, dtype)
        kept = torch.randint(256, (rows, -(-features // 8)), dtype=torch.uint8, device=device)
        for bits in (kept, kept.new_empty(0)):
            got, want = ops.activate_grad(grad, bits, 0.5), activate.activate_grad(grad.cpu(), bits.cpu(), 0.5)
            for result, exact in zip(got, want, strict=True):
                assert_equal(result.cpu(), exact)


def test_an_error_names_argument_rule_and_value(backend):
    ops, device = backend
    rowptr, col = torch.tensor([0, 1, 3], device=device), torch.tensor([2, 0, 1], device=device)
    x, bias, seed = torch.randn(3, 4, device=device), torch.randn(4, device=device), torch.tensor(5, device=device)
    ones, none = torch.ones(3, device=device), (None,) * 6
    kept = torch.zeros(3, 1, dtype=torch.uint8, device=device)
    source = torch.zeros(2, 4, dtype=torch.int32, device=device)
    for name, message, *args in (
        ("propagate", r"x must have shape \[N, F\], got \[3\]", x[:, 0], rowptr, col, *none),
        ("propagate", "rowptr must be int32 or int64, got ScalarType 6", x, rowptr.float(), col, *none),
        ("propagate", "rowptr and col must have one dtype", x, rowptr.int(), col, *none),
        ("propagate", r"rowptr must have shape \[rows \+ 1\], got \[0\]", x, rowptr[:0], col, *none),
        ("propagate", "col must be contiguous, of one dimension", x, rowptr, col.expand(2, 3), *none),
        ("propagate", r"weight must have shape \[3\], got \[2\]", x, rowptr, col, ones[:2], *none[1:]),
        ("propagate", r"row_scale must have shape \[2\], got \[3\]", x, rowptr, col, None, ones, *none[2:]),
        ("propagate", r"col_scale must have shape \[3\], got \[2\]", x, rowptr, col, None, None, ones[:2], *none[3:]),
        ("propagate", "weight must be float32, or float64", x.double(), rowptr, col, ones, *none[1:]),
        ("propagate", "propagate takes float32, float64, bfloat16 and float16", x.int(), rowptr, col, *none),
        ("propagate_activated", r"bias must have shape \[4\]", x, rowptr, col, *none, ones, True, 0.0, None),
        ("propagate_activated", "bias must have the dtype", x.half(), rowptr, col, *none, bias, True, 0.0, None),
        ("propagate_activated", r"dropout must lie in \[0, 1\), got 1", x, rowptr, col, *none, None, True, 1.0, seed),
        ("propagate_activated", "seed must be given where dropout > 0", x, rowptr, col, *none, None, True, 0.1, None),
        ("propagate_activated", "seed must be one int64", x, rowptr, col, *none, None, True, 0.1, seed.int()),
        ("propagate_weight_grad", r"grad must have shape \[2, 4\], got \[3, 4\]", x, x, rowptr, col, None, None),
        ("propagate_extreme_grad", "source must be int32", x[:2], source.long(), rowptr, col, *none[3:]),
        ("propagate_extreme_grad", "source must have the shape of grad", x, source, rowptr, col, *none[3:]),
        ("activate", "seed must be one int64", x, None, False, 0.5, torch.stack([seed, seed])),
        ("activate_grad", r"kept must be contiguous uint8 of shape \[0\] or \[3, 1\], got \[2, 1\]", x, kept[:2], 0.0),
        ("activate_grad", "dropout must lie in", x, kept, -0.5),
    ):
        with pytest.raises(RuntimeError, match=message):
            getattr(ops, name)(*args)


def test_launches_follow_from_sizes(compile_all, tmp_path):
    program = tmp_path / "propagate_shape"
    compile_all([["-fsanitize=undefined", "tests/cuda/propagate_shape.cpp", "-o", program]])
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
