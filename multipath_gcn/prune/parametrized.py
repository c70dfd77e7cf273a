import torch
from torch import nn
from torch.nn.utils import parametrize


@torch.no_grad()
def fold_parametrizations(layer: nn.Module) -> None:
    """Makes parametrized tensors of a layer plain parameters of their values, in place.

    Unlike :func:`torch.nn.utils.parametrize.remove_parametrizations` it leaves deep copies of the layer as they are,
    which share its class, and there the properties that PyTorch would delete.
    """
    values = {
        name: nn.Parameter(getattr(layer, name).detach().clone(), part.original.requires_grad)
        for name, part in layer.parametrizations.items()
    }
    layer.__class__ = parametrize.type_before_parametrizations(layer)
    del layer.parametrizations
    for name, value in values.items():
        layer.register_parameter(name, value)
