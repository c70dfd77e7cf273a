"""Several networks of one architecture as one network, of which they are the groups."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn.dense.linear import Linear

from multipath_gcn.nn import ChannelConv2d, ChannelLinear, GCNConv, GroupedConv2d, GroupedLinear
from multipath_gcn.nn.replace import replaced
from multipath_gcn.ops import ChannelWindows

_LINEAR = (nn.Linear, Linear, ChannelLinear)
_CONV = (ChannelConv2d, nn.Conv2d, GCNConv)
_NORM = (nn.BatchNorm1d, nn.BatchNorm2d)
_KNOWN = (*_LINEAR, *_CONV, *_NORM)
_TOLERANCE = 1e-6  # of the check in float64, against the largest value


class GroupedEnsemble(nn.Module):
    r"""M networks computed, and trained, as one: every layer is a grouped one, whose m-th group is that of member m.

    .. math::
        W = \mathrm{diag}(W_1, \dots, W_M), \qquad
        f(x) = (f_1(x), \dots, f_M(x))

    but for the layers that read the input itself, which all members share: their filters stand side by side. A layer is
    one call for all members. Sums over members of their losses have the gradients of each member alone, so that
    optimisers that treat every weight by itself (SGD, Adam and their like) train each as if it were alone, up to
    rounding, on the same batches. Dropout inside draws for each member anew; of the input, or of whole paths, once for
    all.

    Args:
        members: networks of the same layers; linear layers, convolutions, graph convolutions, batch norms and what has
            no weights. They are copied, and not changed.
        example: what a member is called with, by which the layers that read the input are found.

    Shapes:
        - **input:** as of a member
        - **output:** :math:`(M, *)`, * as of a member, whose last dimension holds the outputs

    Raises:
        ValueError: for fewer than two members, members that differ but in their weights, a layer that cannot be part of
            a group, or an architecture that mixes channels otherwise than by layers, so that members would not be
            computed by themselves.
    """

    def __init__(self, members: Sequence[nn.Module], *example: Any):
        super().__init__()
        if len(members) < 2:
            raise ValueError(f"members must be at least 2 networks, got {len(members)}")
        first = copy.deepcopy(members[0])
        _check_members(members)
        readers = _readers(first, example)

        def widened(layer: nn.Module) -> nn.Module | None:
            return _widened(layer, len(members), layer in readers) if isinstance(layer, _KNOWN) else None

        self.size = len(members)
        self._one = (first,)  # the shape of a member; in a tuple, which makes it no part of this module
        self.network = replaced(first, widened)
        _load(self.network, members)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(first.get_parameter(name).requires_grad)
        _check_computed_apart(self.network, members, example)

    def forward(self, *inputs: Any) -> Tensor:
        return _apart(self.network(*inputs), self.size)

    def members(self) -> list[nn.Module]:
        """Copies of the members as they are now, as networks of their own."""
        like, whole = next(self.parameters()), self.network.state_dict()
        found = [copy.deepcopy(self._one[0]).to(like.device, like.dtype) for _ in range(self.size)]
        for number, member in enumerate(found):
            member.load_state_dict({key: _part(tensor, self.size, number) for key, tensor in whole.items()})
        return [member.train(self.training) for member in found]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size} x {self._one[0]})"


_RULE = "mix channels by their layers alone, so that each is a group of its own"


def _apart(outputs: Tensor, size: int) -> Tensor:
    return outputs.unflatten(-1, (size, -1)).movedim(-2, 0)


def _load(network: nn.Module, members: Sequence[nn.Module]) -> None:
    states = [member.state_dict() for member in members]
    network.load_state_dict({key: _joined([state[key] for state in states]) for key in states[0]})


@torch.no_grad()
def _check_computed_apart(network: nn.Module, members: Sequence[nn.Module], example: Sequence[Any]) -> None:
    """Of copies with random weights, none of them 0, and dense features in float64."""
    x = example[0]
    dense = isinstance(x, Tensor) and x.layout is torch.strided
    if dense:
        example = [x.double(), *example[1:]]
    kind = torch.float64 if dense else next(network.parameters()).dtype
    network, members = copy.deepcopy(network).to(kind), copy.deepcopy(nn.ModuleList(members)).to(kind)
    generator = torch.Generator().manual_seed(0)
    for tensor in (*members.parameters(), *members.buffers()):
        if tensor.is_floating_point():  # positive, as variances are, and means over what a filter reads
            drawn = torch.empty(tensor.shape).uniform_(0.1, 1.0, generator=generator)
            tensor.copy_(drawn / tensor[0].numel())
    _load(network, members)
    wanted = torch.stack([_evaluated(member, example) for member in members])
    try:
        got = _apart(_evaluated(network, example), len(members))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"members must {_RULE}, got {type(members[0]).__name__}: {error}") from error
    bound = (_TOLERANCE if dense else 100 * _TOLERANCE) * float(wanted.abs().max())
    if got.shape != wanted.shape or not torch.allclose(got, wanted, rtol=0, atol=bound):
        raise ValueError(f"members must {_RULE}, got {type(members[0]).__name__}, which does otherwise")


def _evaluated(network: nn.Module, example: Sequence[Any]) -> Tensor:
    was = network.training
    try:
        return network.eval()(*example)
    finally:
        network.train(was)


def _joined(tensors: list[Tensor]) -> Tensor:
    return torch.cat(tensors) if tensors[0].dim() else tensors[0]


def _part(tensor: Tensor, size: int, number: int) -> Tensor:
    return tensor.chunk(size)[number] if tensor.dim() else tensor


def _check_members(members: Sequence[nn.Module]) -> None:
    """All alike, and all weights in layers that can be groups."""
    shapes = [{key: value.shape for key, value in member.state_dict().items()} for member in members]
    for number, member in enumerate(members):
        if shapes[number] != shapes[0] or str(member) != str(members[0]):
            raise ValueError(f"members must have the same layers, got another architecture in member {number}")
    names = [name for name, _ in members[0].named_parameters(remove_duplicate=False)]
    if len(names) != len(list(members[0].parameters())):
        raise ValueError(f"members must not share weights among their layers, got {type(members[0]).__name__}")
    for name, module in members[0].named_modules():
        if hasattr(module, "parametrizations"):
            raise ValueError(f"members must hold their weights as they are, got a parametrization of {name}")
    layers = [name for name, module in members[0].named_modules() if isinstance(module, _KNOWN)]
    known = tuple(f"{name}." if name else "" for name in layers)
    for key in shapes[0]:
        if not key.startswith(known):
            rule = "hold their weights in linear layers, convolutions, graph convolutions and batch norms"
            raise ValueError(f"members must {rule}, got {key} of {type(members[0]).__name__}")


def _readers(network: nn.Module, example: Sequence[Any]) -> set[nn.Module]:
    """Layers that read what the first one reads, which is the input."""
    seen: list[tuple[nn.Module, Any]] = []
    layers = [module for module in network.modules() if isinstance(module, (*_LINEAR, *_CONV))]
    handles = [layer.register_forward_pre_hook(lambda *call: seen.append((call[0], call[1][0]))) for layer in layers]
    try:
        with torch.no_grad():
            _evaluated(network, example)
    finally:
        for handle in handles:
            handle.remove()
    return {layer for layer, read in seen if read is seen[0][1]}


def _widened(layer: nn.Module, size: int, reads_input: bool) -> nn.Module:
    """A layer of the same kind for all members, its weights still to be filled in."""
    if isinstance(layer, GCNConv):
        wide = copy.deepcopy(layer)
        wide.lin = _widened(layer.lin, size, reads_input)
        wide.in_channels *= 1 if reads_input else size
        wide.out_channels *= size
        if layer.bias is not None:
            wide.bias = nn.Parameter(layer.bias.new_empty(wide.out_channels))
        return wide
    place = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    if isinstance(layer, _NORM):
        options = layer.eps, layer.momentum, layer.affine, layer.track_running_stats
        return type(layer)(size * layer.num_features, *options, **place)
    if isinstance(layer, nn.Conv2d):
        if reads_input and layer.groups > 1:
            raise ValueError(f"the convolution that reads the input must have one group, got {layer.groups}")
        width = layer.in_channels if reads_input else size * layer.in_channels
        geometry = layer.kernel_size, layer.stride, layer.padding, layer.dilation
        groups = 1 if reads_input else size * layer.groups
        more = {"bias": layer.bias is not None, "padding_mode": layer.padding_mode}
        return GroupedConv2d(width, size * layer.out_channels, *geometry, groups, **more, **place)
    bias = layer.bias is not None
    if isinstance(layer, ChannelLinear | ChannelConv2d):
        kind = ChannelLinear if isinstance(layer, ChannelLinear) else ChannelConv2d
        return kind(_windows(layer.windows, size, reads_input), bias, **place)
    width, out = layer.weight.size(1), layer.weight.size(0)
    if not reads_input:
        return GroupedLinear(size * width, size * out, size, bias, **place)
    return Linear(width, size * out, bias=bias).to(**place)


def _windows(windows: ChannelWindows, size: int, shared: bool) -> ChannelWindows:
    channels, start = windows.in_channels, windows.start.tolist()
    if shared:
        return ChannelWindows(size * start, windows.width, channels)
    if max(start) + windows.width > channels:
        got = f"{windows.width} channels from {max(start)} of {channels} on"
        raise ValueError(f"windows of members must not wrap around, got one of {got}")
    return ChannelWindows([m * channels + s for m in range(size) for s in start], windows.width, size * channels)
