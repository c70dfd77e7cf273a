from collections import OrderedDict

import torch.fx
from torch import Tensor, nn

from multipath_gcn.models.conv_network import Layers
from multipath_gcn.nn import GroupedConv2d, LocalConv2d

KERNEL, STRIDE = 9, 2
CONNECTIVITY = ("full", "local", "convolution")


class ShallowNetwork(Layers):
    r"""S-FC, S-LOCAL and S-CONV of `Neyshabur 2020 <https://arxiv.org/abs/2007.13657>`_: one network, of which the
    first layer connects everything, patches, or patches with shared weights.

    ``first -> norm -> ReLU -> linear (24 alpha) -> norm -> ReLU -> linear``, where ``first`` makes ``alpha`` maps of
    half of the images' size: by 9x9 filters of stride 2, by as many filters of its own at every place, or as a linear
    layer of as many outputs. The padding is not told in the paper; here the maps are exactly half as large.

    Args:
        in_channels: channels of the images.
        out_channels: number of classes.
        connectivity: of the first layer: ``"full"``, ``"local"`` or ``"convolution"``.
        alpha: number of maps.
        image_size: height and width of the images, even.

    Shapes:
        - **input:** images (N, in_channels, image_size, image_size)
        - **output:** scores (N, out_channels)

    Raises:
        ValueError: for an unknown ``connectivity``, ``alpha`` below 1, an odd ``image_size``, or other images.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        connectivity: str = "full",
        alpha: int = 8,
        image_size: int = 32,
    ):
        if connectivity not in CONNECTIVITY:
            raise ValueError(f"connectivity must be one of {list(CONNECTIVITY)}, got {connectivity!r}")
        if alpha < 1:
            raise ValueError(f"alpha must be at least 1, got {alpha}")
        if image_size < 2 or image_size % 2:
            raise ValueError(f"image_size must be an even number of at least 2, got {image_size}")
        size, hidden = image_size // STRIDE, 24 * alpha
        padding = KERNEL // 2
        units = alpha * size**2
        if connectivity == "full":
            first = [nn.Flatten(), nn.Linear(in_channels * image_size**2, units, bias=False), nn.BatchNorm1d(units)]
        elif connectivity == "local":
            layer = LocalConv2d(in_channels, alpha, KERNEL, image_size, STRIDE, padding, bias=False)
            first = [layer, nn.Flatten(), nn.BatchNorm1d(units)]
        else:
            layer = GroupedConv2d(in_channels, alpha, KERNEL, STRIDE, padding, bias=False)
            first = [layer, nn.BatchNorm2d(alpha), nn.Flatten()]
        second = [nn.Linear(units, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        parts = {"first": nn.Sequential(*first, nn.ReLU()), "second": nn.Sequential(*second)}
        super().__init__(OrderedDict(parts | {"classifier": nn.Linear(hidden, out_channels)}))
        self.image_shape = (in_channels, image_size, image_size)

    def forward(self, x: Tensor) -> Tensor:
        check_shape(x, self.image_shape)
        return super().forward(x)


def check_shape(x: Tensor, image_shape: tuple[int, int, int]) -> None:
    if tuple(x.shape[1:]) != image_shape:
        raise ValueError(f"images must be (N, {', '.join(map(str, image_shape))}), got {list(x.shape)}")


torch.fx.wrap("check_shape")  # a question about sizes: nothing to be traced
