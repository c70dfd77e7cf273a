r"""h[p, k] = sum_e w[p] wave_k(theta[e]) rho_in(g - theta) x[q], what weights of a gauge-equivariant layer are applied
to."""

import torch
from torch import Tensor

from multipath_gcn.graph import GaugeGraph
from multipath_gcn.ops.activate import check_type
from multipath_gcn.ops.native import OPS
from multipath_gcn.ops.propagate import propagate


def gauge_sums(graph: GaugeGraph, x: Tensor, out_order: int) -> Tensor:
    r"""Means over the neighbours of each vertex of their features, brought to the edge and multiplied by waves of its
    angle.

    .. math::
        h_{pk} = \frac{1}{|\mathcal{N}_p|} \sum_{q \in \mathcal{N}_p} w_k(\theta_{pq}) \, \rho(g_{pq} - \theta_{pq}) \,
        x_q, \qquad w = (1, \cos \theta, \sin \theta, \cos 2\theta, \dots)

    On the CPU one operator, which makes no features of edges; elsewhere two sparse matrices, one after the other (see
    :mod:`multipath_gcn.graph.gauge`), between which values are of the type of ``x``. Sums are kept in float32, of
    float64 in float64, in the order of the edges: the same bits for any number of threads.

    Args:
        graph: the edges.
        x: vertex features [N, 2L+1, C]: float32, float64, bfloat16 or, on CUDA, float16.
        out_order: highest order L' of the waves.

    Shapes:
        - **output:** [N, 2L'+1, 2L+1, C], of the type of ``x``

    Raises:
        ValueError: for features that do not fit the graph.
    """
    check_type("x", x)
    if x.dim() != 3 or x.size(0) != graph.num_nodes or x.size(1) % 2 == 0:
        raise ValueError(f"x must have shape [{graph.num_nodes}, 2L+1, C], got {list(x.shape)}")
    order = x.size(1) // 2
    if x.device.type == "cpu":
        wide = torch.promote_types(x.dtype, torch.float32)
        return OPS.gauge_sums(x, *graph.operands(order, out_order, wide))
    return _by_matrices(graph, x, out_order)


def _by_matrices(graph: GaugeGraph, x: Tensor, out_order: int) -> Tensor:
    order = x.size(1) // 2
    if order == 0:  # nothing to be turned, hence no need of a value for each edge
        h = propagate(graph.waves(out_order, of_vertices=True), x.flatten(1))
    else:
        turned = propagate(graph.turned(order), x.flatten(0, 1))
        h = propagate(graph.waves(out_order), turned.view(-1, x[0].numel()))
    return h.view(x.size(0), 2 * out_order + 1, *x.shape[1:])


def _setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[1:])


def _backward(ctx, grad):
    return OPS.gauge_sums_grad(grad, *ctx.saved_tensors), *[None] * 7


def _backward_grad(ctx, dd):
    return OPS.gauge_sums(dd, *ctx.saved_tensors), *[None] * 7


torch.library.register_autograd("multipath_gcn::gauge_sums", _backward, setup_context=_setup)
torch.library.register_autograd("multipath_gcn::gauge_sums_grad", _backward_grad, setup_context=_setup)


@torch.library.register_fake("multipath_gcn::gauge_sums")
def _(x, turn, wave, rowptr, *_rest):
    return x.new_empty(rowptr.size(0) - 1, wave.size(1), *x.shape[1:])


@torch.library.register_fake("multipath_gcn::gauge_sums_grad")
def _(grad, turn, wave, rowptr, col, rowptr_t, *_rest):
    return grad.new_empty(rowptr_t.size(0) - 1, *grad.shape[2:])
