from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Convolution, batch norm and, unless ``activation`` is false, ReLU.

    Args:
        convolution: a layer that maps images (N, C, H, W) to (N, out_channels, H', W').
        out_channels: what the norm has.
        activation: whether ReLU follows.
    """

    def __init__(self, convolution: nn.Module, out_channels: int, activation: bool = True):
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.convolution(x))
        return y.relu_() if self.activation else y

    def prepack(self) -> nn.Module | None:
        """The block for inference, in one call; None where the convolution cannot be packed, which then is copied."""
        if not hasattr(self.convolution, "prepack"):
            return None
        return self.convolution.prepack(self.norm, "relu" if self.activation else None)

    def extra_repr(self) -> str:
        return f"activation={self.activation}"
