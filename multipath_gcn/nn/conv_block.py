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
        self.activation = nn.ReLU(inplace=True) if activation else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.convolution(x))
        return y if self.activation is None else self.activation(y)

    def prepack(self) -> nn.Module:
        """The block for inference, in one call.

        Raises:
            ValueError: where the convolution cannot be packed together with the norm and the activation.
        """
        if not hasattr(self.convolution, "prepack"):
            raise ValueError(f"convolution must have a method prepack, got {type(self.convolution).__name__}")
        if self.activation is not None and type(self.activation) is not nn.ReLU:
            raise ValueError(f"activation must be nn.ReLU or None to be packed, got {self.activation}")
        return self.convolution.prepack(self.norm, None if self.activation is None else "relu")
