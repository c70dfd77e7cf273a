"""Max and min in one pass of torch-scatter over the rows: the CPU's operator of reference mode where it is installed.

It lets the first of equals win, as the definition does. It passes over NaN and takes the outermost finite value for
"none yet": messages that reach so far are left to the definition. So is CUDA, where it numbers results in 32 bits.
"""

import torch
from torch import Tensor
from torch_geometric.typing import WITH_TORCH_SCATTER, torch_scatter

from multipath_gcn.ops.reference import propagate as definition


def propagate_extreme(
    x, rowptr, col, weight, row_scale, col_scale, rowptr_t, col_t, weight_t, largest
) -> tuple[Tensor, Tensor]:
    """The value of the definition and the j it came from."""
    matrix = rowptr, col, weight, row_scale, col_scale
    _, sent = definition.messages(x, *matrix)
    if not (sent.abs() < torch.finfo(sent.dtype).max).all():
        return definition.propagate_extreme(x, *matrix, rowptr_t, col_t, weight_t, largest)
    reduce = torch_scatter.segment_max_csr if largest else torch_scatter.segment_min_csr
    y, entry = reduce(sent, rowptr.long())
    none = col.new_full((1,), -1)  # of an empty row, whose entry is the one past the last
    return y.to(x.dtype), torch.cat([col, none])[entry].int()


FUNCTIONS = {"propagate_extreme": propagate_extreme} if WITH_TORCH_SCATTER else {}
