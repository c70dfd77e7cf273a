from torch import nn

from multipath_gcn.nn.replace import replaced


def prepack(model: nn.Module) -> nn.Module:
    """A copy of a network for inference on this machine: weights packed, norms folded in, activations in the store.

    Every module with a method ``prepack`` is replaced by what it gives: :class:`GroupedConv2d`,
    :class:`UnevenGroupedConv2d`, :class:`DepthwiseSeparableConv2d`, :class:`ChannelConv2d`, :class:`ConvBlock` (a
    convolution with the norm and activation after it) and the residual blocks of :class:`multipath_gcn.models.ResNet`.
    Copied as they are: all other modules, those whose ``prepack`` refuses (another kind of norm, of padding), and
    subclasses with a ``forward`` of their own. ``print`` the result to see.

    The copy has no gradients and is not for storing. It computes what ``model`` computes in evaluation mode.

    Args:
        model: any network; it is not changed.
    """

    return replaced(model, _packed).eval().requires_grad_(False)


def _packed(module: nn.Module) -> nn.Module | None:
    if not hasattr(module, "prepack") or _computes_something_else(type(module)):
        return None
    try:
        return module.prepack()
    except ValueError:  # its parts may yet be packed, each for itself
        return None


def _computes_something_else(kind: type[nn.Module]) -> bool:
    """Whether ``forward`` is of a subclass of the one that ``prepack`` was written for."""
    forward, prepack = (next(c for c in kind.__mro__ if name in vars(c)) for name in ("forward", "prepack"))
    return forward is not prepack and issubclass(forward, prepack)
