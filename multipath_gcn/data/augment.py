"""Batches of uint8 images made ready for a network: random crops and flips, then normalised numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Augment:
    r"""A random crop of each image padded with zeros, flipped from left to right with probability 1/2.

    .. math:: y_{b,i,j} = \text{padded}_{b,\; t_b + i,\; l_b + (f_b \,?\, W - 1 - j : j)}

    One gather of whole pixels does all three on any device. Draws are always made on the CPU, so that a generator's
    state decides them whatever the device.

    Args:
        crop_padding: P, zeros on each side; offsets ``top`` and ``left`` are uniform on 0 ... 2 P.
        flip: whether to flip.
    """

    def __init__(self, crop_padding: int = 4, flip: bool = True):
        if crop_padding < 0:
            raise ValueError(f"crop_padding must be at least 0, got {crop_padding}")
        self.crop_padding, self.flip = crop_padding, flip

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Augmented copies of ``images``, uint8 [B, C, H, W], in channels-last memory.

        Args:
            generator: of the CPU; PyTorch's own where it is None.
        """
        return self.apply(images, *self.draw(len(images), generator))

    def draw(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """``top``, ``left`` and ``flipped`` (int64 of 0 and 1) for so many images."""
        top, left = torch.randint(2 * self.crop_padding + 1, (2, count), generator=generator)
        return top, left, torch.randint(2 if self.flip else 1, (count,), generator=generator)

    def apply(self, images: Tensor, top: Tensor, left: Tensor, flipped: Tensor) -> Tensor:
        """The crops and flips that these draws stand for."""
        if images.dtype != torch.uint8 or images.dim() != 4:
            got = f"{images.dtype} {tuple(images.shape)}"
            raise ValueError(f"images must be uint8 of shape [B, C, H, W], got {got}")
        (count, channels, height, width), pad, device = images.shape, self.crop_padding, images.device
        top, left, flipped = (draws.to(device).view(-1, 1) for draws in (top, left, flipped))
        padded = images.new_zeros(count, height + 2 * pad, width + 2 * pad, channels)
        padded[:, pad : pad + height, pad : pad + width] = images.permute(0, 2, 3, 1)
        across = torch.arange(width, device=device)
        columns = left + torch.where(flipped.bool(), across.flip(0), across)
        rows = torch.arange(count, device=device).view(-1, 1) * padded.size(1) + top
        rows = rows + torch.arange(height, device=device)
        pixels = rows.unsqueeze(2) * padded.size(2) + columns.unsqueeze(1)
        cropped = padded.view(-1, channels).index_select(0, pixels.view(-1))
        return cropped.view(count, height, width, channels).permute(0, 3, 1, 2)


class Normalize:
    r"""uint8 [B, C, H, W] to float32 :math:`(x / 255 - \text{mean}_c) / \text{std}_c`, in channels-last memory.

    Args:
        mean: of each channel, over pixels scaled to [0, 1].
        std: of each channel, positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        if len(mean) != len(std) or not mean:
            raise ValueError(f"mean and std must have one number per channel each, got {len(mean)} and {len(std)}")
        if min(std) <= 0:
            raise ValueError(f"std must be positive, got {tuple(std)}")
        mean, std = (torch.tensor(list(values), dtype=torch.float64) for values in (mean, std))
        self._scale, self._shift = (1 / (255 * std)).float(), (-mean / std).float()
        self._tiled: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8 or images.dim() != 4 or images.size(1) != len(self._scale):
            got = f"{images.dtype} {tuple(images.shape)}"
            raise ValueError(f"images must be uint8 of shape [B, {len(self._scale)}, H, W], got {got}")
        count, channels, height, width = images.shape
        scale, shift = self._rows(width, images.device)
        rows = images.permute(0, 2, 3, 1).reshape(count, height, width * channels)
        return torch.addcmul(shift, rows.float(), scale).view(count, height, width, channels).permute(0, 3, 1, 2)

    def _rows(self, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        # One number for each byte of a row of pixels: broadcasting over three channels takes ten times as long.
        if (width, device) not in self._tiled:
            self._tiled[width, device] = tuple(t.repeat(width).to(device) for t in (self._scale, self._shift))
        return self._tiled[width, device]
