from torch import nn

from multipath_gcn.nn.replace import replaced


def prepack(model: nn.Module) -> nn.Module:
    """A copy of a network for inference on this machine: weights packed, norms folded in, activations in the store.

    Every module with a method ``prepack`` is replaced by what it gives: :class:`GroupedConv2d`,
    :class:`DepthwiseSeparableConv2d`, :class:`ChannelConv2d`, :class:`ConvBlock` (a convolution with the norm and
    activation after it) and the residual blocks of :class:`multipath_gcn.models.ResNet`. Everything else is copied.

    The copy has no gradients and is not for storing. It computes what ``model`` computes in evaluation mode.

    Args:
        model: any network; it is not changed.
    """

    def make(module: nn.Module) -> nn.Module | None:
        method = getattr(module, "prepack", None)
        return None if method is None else method()

    return replaced(model, make).eval()
