"""Products of orders against those of parts cut out and put together."""

import pytest
import torch

from multipath_gcn.ops.gauge_mix import mix_orders

CHANNELS, FILTERS, VERTICES = 3, 2, 5
ROWS = [slice(0, 1), slice(1, 3), slice(3, 5)]


def operands(in_order, out_order, dtype=torch.float64):
    generator = torch.Generator().manual_seed(7)

    def new(*sizes):
        return torch.randn(*sizes, generator=generator, dtype=dtype).requires_grad_()

    read = 2 * in_order + 1
    parts = [1, 2, 2]
    matrices = [new(parts[n] * FILTERS, parts[n] * read * CHANNELS) for n in range(out_order + 1)]
    own = [new(parts[n] * FILTERS, parts[n] * CHANNELS) for n in range(min(in_order, out_order) + 1)]
    sums, x = new(VERTICES, 2 * out_order + 1, read, CHANNELS), new(VERTICES, read, CHANNELS)
    return sums, x, new(FILTERS), len(matrices), *matrices, *own


def mixed(sums, x, bias, count, *matrices):
    return mix_orders(sums, x, bias, matrices[:count], matrices[count:])


def composed(sums, x, bias, count, *matrices):
    outputs = []
    for n, matrix in enumerate(matrices[:count]):
        y = sums[:, ROWS[n]].flatten(1) @ matrix.T
        if count + n < len(matrices):
            y = y + x[:, ROWS[n]].flatten(1) @ matrices[count + n].T
        outputs.append((y if n or bias is None else y + bias).unflatten(1, (-1, FILTERS)))
    return torch.cat(outputs, dim=1)


@pytest.mark.parametrize("in_order", [0, 1, 2])
@pytest.mark.parametrize("out_order", [0, 1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients(in_order, out_order, bias):
    given = list(operands(in_order, out_order))
    given[2] = given[2] if bias else None
    tensors = [each for each in given if isinstance(each, torch.Tensor)]
    found, wanted = (way(*given) for way in (mixed, composed))
    torch.testing.assert_close(found, wanted)
    weights = torch.randn_like(wanted)
    pairs = [torch.autograd.grad(y, tensors, weights) for y in (found, wanted)]
    torch.testing.assert_close(*pairs)


@pytest.mark.parametrize("orders", [(2, 1), (1, 2)], ids=str)
def test_gradients_of_gradients(orders):
    given = operands(*orders)
    assert torch.autograd.gradgradcheck(lambda *each: mixed(*each).square(), given)


def test_only_the_gradients_that_are_asked_for():
    sums, x, bias, *rest = operands(1, 1)
    y = mixed(sums.detach(), x, bias.detach(), *rest)
    (grad,) = torch.autograd.grad(y.sum(), [x])
    wanted = composed(sums, x, bias, *rest)
    torch.testing.assert_close(grad, torch.autograd.grad(wanted.sum(), [x])[0])


def test_a_part_of_a_larger_tensor():
    """Features that do not lie in one piece."""
    sums, x, bias, *rest = operands(2, 2)
    apart = torch.stack([x, x], dim=-1)[..., 0]
    assert not apart.is_contiguous()
    torch.testing.assert_close(mixed(sums, apart, bias, *rest), mixed(sums, x, bias, *rest))


def test_compiles():
    given = [each.detach() if isinstance(each, torch.Tensor) else each for each in operands(1, 1)]
    compiled = torch.compile(mixed, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given), composed(*given))
