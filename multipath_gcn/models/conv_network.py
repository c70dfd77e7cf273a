"""What the convolution networks are made of."""

from collections.abc import Callable

from torch import nn

Convolution = Callable[..., nn.Module]  # (in_channels, out_channels, kernel_size, *, stride, padding, bias) -> layer
FORMS = ("cifar", "imagenet")


class Layers(nn.Sequential):
    """A sequence that is made from something else than its layers: a slice of it is a plain sequence."""

    def __getitem__(self, index: slice | int) -> nn.Module:
        return nn.Sequential(*list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)


def made(convolution: Convolution, layer: str, in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """The 3x3 convolution without bias; what it refuses is told with the name of the layer."""
    try:
        return convolution(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
    except ValueError as error:
        raise ValueError(f"{layer}, {in_channels} -> {out_channels} channels: {error}") from error


def scaled(channels: int, width: float) -> int:
    """``width`` times so many channels, to the nearest multiple of 8 and at least 8: groups must divide them."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


def check_form(form: str) -> None:
    if form not in FORMS:
        raise ValueError(f"form must be one of {list(FORMS)}, got {form!r}")


def check_width(width: float) -> None:
    if not width > 0:
        raise ValueError(f"width must be greater than 0, got {width}")
