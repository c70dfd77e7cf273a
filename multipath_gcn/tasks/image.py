"""Image classification: what the training steps of an epoch and an evaluation are."""

import inspect
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from multipath_gcn.data.augment import Augment, Normalize
from multipath_gcn.data.image_dataset import ImageDataset, ImageSplit


class ImageTask:
    r"""Trains on augmented batches of the training images, scores all three splits by accuracy.

    Every epoch sees every training image once, in an order drawn from PyTorch's generator, in batches of equal size
    but for one image, and never of one alone, from which batch norm learns nothing. Images stay uint8 until they are on
    the device, and are augmented and normalised there.

    Args:
        dataset: images and labels.
        batch_size: images of a training step, at most.
        crop_padding: zero pixels around an image before a crop of its size is taken at random; ``None``: the data
            set's.
        flip: whether every second image, at random, is mirrored left to right; ``None``: the data set's.
        label_smoothing: :math:`\epsilon` in [0, 1): the target is :math:`(1 - \epsilon) y + \epsilon / C`, C classes.
        channels_last: the memory format of images and weights; otherwise contiguous.
        eval_batch_size: images of an evaluation step.
        device: where steps are computed.

    Attributes:
        in_channels, out_channels: of the images, and the number of classes.
        steps: training steps of an epoch.

    Raises:
        ValueError: for an argument out of its range.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int = 128,
        crop_padding: int | None = None,
        flip: bool | None = None,
        label_smoothing: float = 0.0,
        channels_last: bool = True,
        eval_batch_size: int = 500,
        device: torch.device | str = "cpu",
    ):
        if not isinstance(dataset, ImageDataset):
            kind = type(dataset).__name__
            raise ValueError(f"dataset must be an ImageDataset for task=image, such as data=cifar10, got {kind}")
        for name, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {size!r}")
        if flip not in (None, True, False):
            raise ValueError(f"flip must be true, false or null, got {flip!r}")
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {label_smoothing}")
        self.dataset, self.device, self.label_smoothing = dataset, torch.device(device), label_smoothing
        self.augment = Augment(
            dataset.crop_padding if crop_padding is None else crop_padding, dataset.flip if flip is None else flip
        )
        self.normalize = Normalize(dataset.mean, dataset.std)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.eval_batch_size = eval_batch_size
        self.in_channels, self.out_channels = dataset.channels, dataset.num_classes
        self.steps = _steps(len(dataset.splits["train"]), batch_size)
        self._train_score = 0.0

    def check(self, model: nn.Module) -> None:
        """Refuses a model whose ``forward`` does not take images alone."""
        check_takes_images(model)

    def train_losses(self, model: nn.Module, epoch: int) -> Iterator[Tensor]:
        """The loss of every step of an epoch, with a gradient; the model must be stepped before the next is taken."""
        model.to(memory_format=self.memory_format)
        split = self.dataset.splits["train"]
        hits = torch.zeros((), device=self.device)
        for positions in torch.randperm(len(split)).tensor_split(self.steps):
            model.train()
            images, labels = self._batch(split, positions, augment=True)
            scores = model(images)
            hits += (scores.detach().argmax(1) == labels).sum()
            yield F.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)
        self._train_score = (hits / len(split)).item()

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Accuracy of every split as a fraction, and the cross-entropy of the validation images as ``valid_loss``.

        ``train`` is the accuracy of the last epoch's steps: of augmented images, by weights that were still changing.
        """
        model.eval().to(memory_format=self.memory_format)
        valid, valid_loss = self._score(model, self.dataset.splits["valid"])
        test, _ = self._score(model, self.dataset.splits["test"])
        return {"train": self._train_score, "valid": valid, "test": test, "valid_loss": valid_loss}

    def calibration(self, count: int, batch_size: int) -> list[tuple[Tensor]]:
        """Batches of training images as they are evaluated, always the same: for statistics."""
        split = self.dataset.splits["train"]
        chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:count]
        return [(self._batch(split, positions, augment=False)[0],) for positions in _full(chosen, batch_size)]

    def _score(self, model: nn.Module, split: ImageSplit) -> tuple[float, float]:
        hits, loss = torch.zeros((), dtype=torch.int64, device=self.device), 0.0
        for positions in torch.arange(len(split)).split(self.eval_batch_size):
            images, labels = self._batch(split, positions, augment=False)
            scores = model(images).float()
            hits += (scores.argmax(1) == labels).sum()
            loss += F.cross_entropy(scores, labels, reduction="sum").item()
        return hits.item() / len(split), loss / len(split)

    def _batch(self, split: ImageSplit, positions: Tensor, augment: bool) -> tuple[Tensor, Tensor]:
        images = split.batch(positions).to(self.device, non_blocking=True)
        images = self.normalize(self.augment(images) if augment else images)
        return images.contiguous(memory_format=self.memory_format), split.labels[positions].to(self.device)


def check_takes_images(model: nn.Module) -> None:
    try:
        inspect.signature(model.forward).bind(None)
    except TypeError as error:
        rule = "take images alone, such as model=mobilenet, for task=image"
        raise ValueError(f"model must {rule}, got {type(model).__name__}: {error}") from error


def _full(positions: Tensor, size: int) -> list[Tensor]:
    """Batches of one size; what is left over is dropped."""
    return [batch for batch in positions.split(size) if len(batch) == min(size, len(positions))]


def _steps(images: int, batch_size: int) -> int:
    steps = -(-images // batch_size)
    return max(1, images // 2) if batch_size > 1 and images < 2 * steps else steps
