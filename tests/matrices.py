"""Sparse matrices and features to test propagation with, and its operators against their definition, to the last bit.

All values are small integers and powers of two: sums are exact in any order, so that nothing but a wrong entry, a sum in a
narrow type or another mask makes a difference. Imports neither pytest nor PyG.
"""

import importlib.util
import random
import sys
from pathlib import Path

import torch

import multipath_gcn

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
FEATURES = (1, 3, 7, 16, 40, 64, 100, 128, 256, 300)
SHAPES = [(1, 1), (1, 300), (300, 1), (37, 41), (130, 150), (64, 300)]
PRESENT = (True, False)


def definitions():
    """ops/reference/{propagate,activate}.py by their files: without the package, whose import takes seconds."""
    folder, loaded = Path(multipath_gcn.__file__).with_name("ops") / "reference", []
    for name in ("activate", "propagate"):
        full = f"multipath_gcn.ops.reference.{name}"
        if full not in sys.modules:
            spec = importlib.util.spec_from_file_location(full, folder / f"{name}.py")
            sys.modules[full] = importlib.util.module_from_spec(spec)  # propagate.py imports activate
            spec.loader.exec_module(sys.modules[full])
        loaded.append(sys.modules[full])
    return loaded


def contiguous(new, n, f):
    return new(n, f)


def padded(new, n, f):
    return new(n, f + 3)[:, :f]


def padded_by_words(new, n, f):
    return new(n, f + 16)[:, 16:]


def off_by_one(new, n, f):
    return new(n * f + 1)[1:].view(n, f)


def transposed(new, n, f):
    return new(f, n).t()


def one_row(new, n, f):
    return new(1, f).expand(n, f)


MEMORY = (contiguous, padded, padded_by_words, off_by_one, transposed, one_row)


class Problem:
    """A random matrix [rows, columns] with its transpose, x [columns, F], grad [rows, F] and an activation.

    A few rows and columns are full, a few are empty; ``pick`` decides on what is left out, strided or int64.
    """

    def __init__(self, rows, columns, features, dtype, device="cpu", pick=random):
        self.dtype, self.device, self.pick = dtype, device, pick
        self.shape = rows, columns
        filled = torch.rand(rows, columns) < pick.choice((0.0, 0.02, 0.2))
        for full in PRESENT * 2:
            if rows and columns:
                filled[pick.randrange(rows)] = full
                filled[:, pick.randrange(columns)] = full
        sums = torch.promote_types(dtype, torch.float32)
        powers = torch.tensor([-2, -1, -0.5, 0.5, 1, 2], dtype=sums)
        new = [powers[torch.randint(6, size)] for size in ((rows, columns), (rows,), (columns,))]
        weight, row_scale, col_scale = (t if pick.choice(PRESENT) else None for t in new)
        index = pick.choice((torch.int32, torch.int64))
        self.matrix = self._csr(filled, weight, row_scale, col_scale, index)
        self.transpose = self._csr(filled.t(), None if weight is None else weight.t(), col_scale, row_scale, index)
        self.x, self.grad = (pick.choice(MEMORY)(self.new, n, features) for n in (columns, rows))
        self.bias = pick.choice((None, self.new(features), self.new(2 * features)[::2]))
        self.seed = torch.randint(-(2**63), 2**63 - 1, (), device=device)

    def new(self, *shape):
        return torch.randint(-3, 4, shape).to(self.device, self.dtype)

    def _csr(self, filled, weight, row_scale, col_scale, index):
        rowptr = torch.cat([torch.zeros(1, dtype=torch.long), filled.sum(1).cumsum(0)])
        parts = (
            rowptr.to(index),
            filled.nonzero()[:, 1].to(index),
            None if weight is None else weight[filled],
            row_scale,
            col_scale,
        )
        return tuple(None if t is None else t.to(self.device) for t in parts)

    def __str__(self):
        kinds = {"x": self.x, "grad": self.grad, "bias": self.bias}
        kinds |= dict(zip(("rowptr", "col", "weight", "row_scale", "col_scale"), self.matrix, strict=True))
        kinds = {name: t for name, t in kinds.items() if t is not None}
        return ", ".join(f"{name} {t.dtype} {list(t.shape)} strides {t.stride()}" for name, t in kinds.items())


def check_operators(ops, problem, dropout=0.5):
    """Every operator on the problem, whose definition runs on the CPU. Returns how many results there were."""
    activate, propagate = definitions()
    forward = (problem.x, *problem.matrix, problem.transpose[0], problem.transpose[1], problem.transpose[2])
    activation = (problem.bias, problem.pick.choice(PRESENT), dropout, problem.seed if dropout else None)
    check, results = _Check(ops), 0
    results += check(propagate.propagate, *forward)
    _, kept = propagate.propagate_activated(*_on_cpu(forward), *_on_cpu(activation))
    results += check(propagate.propagate_activated, *forward, *activation)
    results += check(activate.activate, problem.grad, *activation)
    results += check(activate.activate_grad, problem.grad, kept.to(problem.device), dropout)
    rowptr, col, _, row_scale, col_scale = problem.matrix
    results += check(propagate.propagate_weight_grad, problem.grad, problem.x, rowptr, col, row_scale, col_scale)
    for largest in (False, True):
        results += check(propagate.propagate_extreme, *forward, largest)
    _, source = propagate.propagate_extreme(*_on_cpu(forward), False)
    source = source.to(problem.device)
    return results + check(propagate.propagate_extreme_grad, problem.grad, source, *problem.transpose)


class _Check:
    def __init__(self, ops):
        self.ops = ops

    def __call__(self, definition, *args):
        got, want = getattr(self.ops, definition.__name__)(*args), definition(*_on_cpu(args))
        got, want = ((t,) if isinstance(t, torch.Tensor) else t for t in (got, want))
        for result, exact in zip(got, want, strict=True):
            assert_equal(result.cpu(), exact, definition.__name__)
            assert result.is_contiguous()
        return len(want)


def assert_equal(got, want, name=""):
    assert (got.dtype, got.shape) == (want.dtype, want.shape), f"{name}: {got.dtype} {list(got.shape)}"
    torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True, msg=lambda text: f"{name}: {text}")


def _on_cpu(args):
    return [a.cpu() if isinstance(a, torch.Tensor) else a for a in args]
