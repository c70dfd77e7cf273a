"""Weights under masks while a network trains."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from multipath_gcn.prune.parametrized import fold_parametrizations


class Masked(nn.Module):
    """:math:`W \\odot M`: a parametrization of a weight (O, C, *) by a mask (O, C), which is saved with the model."""

    def __init__(self, mask: Tensor):
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask[(..., *[None] * (weight.dim() - 2))]


def mask_weights(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Masks the weights of layers, in place, by their names; what a layer's mask was before goes on to hold.

    Parameters become new ones: an optimizer must be made anew.
    """
    for name, mask in masks.items():
        layer = model.get_submodule(name)
        known = mask_of(layer)
        if known is None:
            parametrize.register_parametrization(layer, "weight", Masked(mask.to(layer.weight)))
            layer.register_state_dict_post_hook(_without_weight)
        else:
            known.mul_(mask)


def mask_of(layer: nn.Module) -> Tensor | None:
    """The mask of a layer's weight, or None."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    return next((p.mask for p in layer.parametrizations.weight if isinstance(p, Masked)), None)


def fold_masks(model: nn.Module) -> None:
    """Makes masked weights plain ones with zeros, in place."""
    for layer in model.modules():
        if mask_of(layer) is not None:
            fold_parametrizations(layer)


def _without_weight(layer: nn.Module, state: dict[str, Any], prefix: str, _) -> None:
    """PyG's Linear writes its weight whether or not it is a parameter: the masked one, which nothing would load."""
    if parametrize.is_parametrized(layer, "weight"):
        state.pop(f"{prefix}weight", None)
