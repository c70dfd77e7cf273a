"""Constants added to what a layer gives."""

from torch import Tensor, nn

from multipath_gcn.prune.channels import Channels


def shift_output(model: nn.Module, channels: Channels, weight: str, added: Tensor) -> None:
    """Adds constants [O] to what a weight's layer gives: to the mean of the norm that follows, or to its bias."""
    if not added.any():
        return
    norm = channels.norm_after(weight)
    if norm is not None and norm[2] is not None:
        mean = model.get_buffer(norm[2])
        mean -= added.to(mean.dtype)
        return
    bias = bias_of(model, weight)
    if bias is None:
        layer = model.get_submodule(weight.rpartition(".")[0])
        layer.bias = nn.Parameter(added.to(layer.weight.dtype))
    else:
        bias.data += added.to(bias.dtype)


def bias_of(model: nn.Module, weight: str, inside: bool = False) -> nn.Parameter | None:
    """The bias of a weight's layer; where that has none, the one that PyG keeps beside it unless ``inside``."""
    path = weight.rpartition(".")[0]
    layer, above = model.get_submodule(path), model.get_submodule(path.rpartition(".")[0])
    bias = getattr(layer, "bias", None)
    if isinstance(bias, nn.Parameter) or inside:
        return bias if isinstance(bias, nn.Parameter) else None
    bias = getattr(above, "bias", None)
    return bias if isinstance(bias, nn.Parameter) and len(bias) == len(model.get_parameter(weight)) else None
