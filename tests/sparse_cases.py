"""Sparse matrices to propagate over, and every operator compared with its definition. Imports neither pytest nor PyG.

As a script it compares many cases: ``python sparse_cases.py`` under MULTIPATH_GCN_ISA=avx2, say. Prints what ran.
"""

import random
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

import multipath_gcn
from multipath_gcn import _native

FEATURES = (1, 3, 7, 16, 40, 64, 65, 100, 128, 256, 300)
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
SHAPES = [(37, 37), (41, 23), (9, 60), (1, 1), (1, 30), (30, 1), (5, 0), (0, 5), (0, 0)]


def contiguous(x):
    return x


def columns_of_more(x):
    wide = x.new_full((x.size(0), x.size(1) + 5), torch.nan)
    wide[:, 2:-3] = x
    return wide[:, 2:-3]


def transposed(x):
    return x.t().contiguous().t()


def every_other(x):
    wide = x.new_full((2 * x.size(0), x.size(1)), torch.nan)
    wide[::2] = x
    return wide[::2]


def one_row(x):
    return x[:1].expand_as(x) if x.size(0) else x


def one_value(x):
    return x[:1, :1].expand_as(x) if x.numel() else x


MEMORY = (contiguous, columns_of_more, transposed, every_other, one_row, one_value)


def cases(features, dtype, seed=0, integers=False, shapes=SHAPES):
    """Per shape a matrix with a hub, empty rows and empty columns (of the last, without entries), and its tensors.

    With ``integers`` all results are exact, whatever the order of their sums.
    """
    pick, generator = random.Random(f"{features}{dtype}{seed}"), torch.Generator().manual_seed(seed + features)
    sums = torch.promote_types(dtype, torch.float32)

    def values(*shape, type_=dtype, powers=False):
        if powers and integers:
            return (2.0 ** torch.randint(-1, 2, shape, generator=generator)).to(type_)
        if integers:
            return torch.randint(-2, 3, shape, generator=generator).to(type_)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(type_)

    def maybe(tensor):
        return tensor if pick.random() < 0.6 else None

    for rows, columns in shapes:
        stored = torch.rand(rows, columns, generator=generator) < pick.choice((0, 0.1, 0.3))
        stored[rows // 2 :: 7] = False
        stored[:, columns // 2 :: 5] = False
        if stored.any() or rows == 1:
            stored[:1] = True
        index = pick.choice((torch.int32, torch.int64))
        (rowptr, col, _), (rowptr_t, col_t, entry) = _csr(stored, index), _csr(stored.t(), index)
        weight = maybe(values(col.numel(), type_=sums))
        row_scale, col_scale = (maybe(values(n, type_=sums, powers=True)) for n in (rows, columns))
        yield SimpleNamespace(
            matrix=(rowptr, col, weight, row_scale, col_scale),
            transpose=(rowptr_t, col_t, None if weight is None else weight[entry]),
            x=pick.choice(MEMORY)(values(columns, features)),
            grad=pick.choice(MEMORY)(values(rows, features)),
            bias=maybe(values(features)),
            relu=pick.random() < 0.5,
            dropout=pick.choice((0.0, 0.5) if integers else (0.0, 0.3, 0.9)),
            seed=torch.tensor(pick.getrandbits(64) - 2**63),
            terms=columns + 1,
        )


def _csr(stored, index):
    place = torch.full(stored.shape, -1)
    entries = stored if stored.is_contiguous() else stored.t()  # entries are numbered along the matrix's rows
    (place if stored.is_contiguous() else place.t())[entries] = torch.arange(int(entries.sum()))
    rowptr = torch.cat([torch.zeros(1, dtype=torch.long), stored.sum(1).cumsum(0)])
    return rowptr.to(index), stored.nonzero()[:, 1].to(index), place[stored]


def check(ops, reference, case, integers=False):
    """Every operator on this case."""
    same = equal if integers else near
    matrix, x, grad = case.matrix, case.x, case.grad
    operands = (*matrix, *case.transpose)
    last = case.bias, case.relu, case.dropout, case.seed if case.dropout else None
    p, a = reference.propagate, reference.activate

    same(ops.propagate(x, *operands), p.propagate, x, *operands, terms=case.terms)
    y, kept = ops.propagate_activated(x, *operands, *last)
    same(y, lambda *args: p.propagate_activated(*args)[0], x, *operands, *last, terms=case.terms + 1)
    if integers:
        assert torch.equal(kept, p.propagate_activated(x, *operands, *last)[1])
    weight_grad = ops.propagate_weight_grad(grad, x, *matrix[:2], *matrix[3:])
    same(weight_grad, p.propagate_weight_grad, grad, x, *matrix[:2], *matrix[3:], terms=x.size(1))

    for largest in (True, False):
        y, source = ops.propagate_extreme(x, *operands, largest)
        expected, first = p.propagate_extreme(x, *operands, largest)
        if integers:
            assert torch.equal(y, expected) and torch.equal(source, first)
        exact, most = (lambda *args, end=end: p.propagate_extreme(*args, end)[0] for end in (largest, True))
        near(y, exact, x, *operands, terms=2, of_sizes=most)
        back = (*case.transpose, matrix[4], matrix[3])
        terms = grad.size(0) + 2
        same(ops.propagate_extreme_grad(grad, first, *back), p.propagate_extreme_grad, grad, first, *back, terms=terms)

    y, kept = ops.activate(grad, *last)
    expected, bits = a.activate(grad, *last)
    equal(y, lambda *args: a.activate(*args)[0], grad, *last)
    assert torch.equal(kept, bits)
    dx, dbias = ops.activate_grad(grad, kept, case.dropout)
    equal(dx, lambda *args: a.activate_grad(*args)[0], grad, kept, case.dropout)
    same(dbias, lambda *args: a.activate_grad(*args)[1], grad, kept, case.dropout, terms=grad.size(0))
    parts = [x, x.flip(0).flip(0), x + 1]
    total = ops.combine(parts, 0.5)
    same(total, lambda *parts: a.combine(parts, 0.5), *parts, terms=3)


def equal(got, function, *args, terms=0):
    expected = function(*args)
    assert got.dtype == expected.dtype and got.shape == expected.shape
    assert torch.equal(got, expected), f"{int((got != expected).sum())} of {got.numel()} values differ"


def near(got, function, *args, terms, of_sizes=None):
    """``got`` is the function but for the rounding of sums of ``terms``, at most ``of_sizes``, and of the result."""
    wide = [t.double() if isinstance(t, torch.Tensor) and t.is_floating_point() else t for t in args]
    sizes = [t.abs() if isinstance(t, torch.Tensor) and t.is_floating_point() else t for t in wide]
    exact, largest = function(*wide), (of_sizes or function)(*sizes)
    sums, rounding = torch.finfo(torch.promote_types(got.dtype, torch.float32)).eps, torch.finfo(got.dtype)
    bound = (terms + 4) * sums * largest.abs() + rounding.eps * exact.abs() + rounding.tiny
    assert got.shape == exact.shape, f"shape {list(got.shape)} is not {list(exact.shape)}"
    error = (got.double() - exact).abs()
    assert (error <= bound).all(), f"{float(error.nan_to_num(torch.inf).max()):.3g} from exact"


def describe(case):
    rowptr, col, *values = case.matrix
    names = [name for name, t in zip(("weight", "row_scale", "col_scale"), values, strict=True) if t is not None]
    tensors = [f"{name} {list(t.shape)} strides {t.stride()}" for name, t in (("x", case.x), ("grad", case.grad))]
    last = f"bias {case.bias is not None}, relu {case.relu}, dropout {case.dropout}"
    return f"{case.x.dtype}, {rowptr.dtype}, {col.numel()} entries, {names}, {', '.join(tensors)}, {last}"


def check_all(ops, reference, *args, **options):
    every = list(cases(*args, **options))
    for case in every:
        try:
            check(ops, reference, case, options.get("integers", False))
        except AssertionError as error:
            raise AssertionError(describe(case)) from error
    return len(every)


def definitions():
    """ops/reference without the rest of the package, whose import takes seconds."""
    package = ModuleType("multipath_gcn.ops")
    package.__path__ = [str(Path(multipath_gcn.__file__).with_name("ops"))]
    sys.modules["multipath_gcn.ops"] = package
    from multipath_gcn.ops import reference

    return reference


def main():
    _native.load()
    torch.set_num_threads(1)
    reference, count = definitions(), 0
    for features in FEATURES:
        for dtype in DTYPES:
            for integers in (False, True):
                count += check_all(torch.ops.multipath_gcn, reference, features, dtype, 1, integers=integers)
    print(count, "cases equal the definition with", multipath_gcn.build_info().isa)


if __name__ == "__main__":
    main()
