"""Images and a recipe for benchmarks that train many small networks: a part of CIFAR-10, at 16 x 16 or 32 x 32."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from multipath_gcn.data import Augment, Normalize

CONF = Path(__file__).parents[1] / "conf"
TRAIN, TEST, BATCH = 20_000, 4_000, 128


class Images:
    """Training, validation and test images of 16 x 16 or 32 x 32 pixels; those of training cropped and mirrored."""

    def __init__(self, train: int = TRAIN, test: int = TEST, size: int = 16):
        data = instantiate(OmegaConf.load(CONF / "data" / "cifar10.yaml"))
        self.augment, self.normalize = Augment(size // 8, True), Normalize(data.mean, data.std)
        self.splits = {}
        for name, count in (("train", train), ("valid", test), ("test", test)):
            split = data.splits[name]
            at = torch.arange(min(count, len(split)))
            parts = (split.batch(some) for some in at.split(1000))
            images = torch.cat([part if size == 32 else _halved(part) for part in parts])
            self.splits[name] = images, split.labels[at]

    def batches(
        self, generator: torch.Generator, limit: int | None = None, size: int = BATCH
    ) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.splits["train"]
        order = torch.randperm(len(images), generator=generator)[:limit]
        for at in order.split(size):
            if len(at) == size:
                yield self._input(self.augment(images[at], generator)), labels[at]

    def _input(self, images: Tensor) -> Tensor:
        return self.normalize(images).contiguous(memory_format=torch.channels_last)

    def calibration(self, count: int = 512, size: int = 64) -> list[tuple[Tensor]]:
        return [(self._input(images),) for images in self.splits["train"][0][:count].split(size)]

    @torch.no_grad()
    def accuracy(self, model: nn.Module, split: str = "test") -> float:
        """In per cent."""
        model.eval()
        images, labels = self.splits[split]
        parts = [model(self._input(some)).argmax(1) for some in images.split(500)]
        return 100 * float((torch.cat(parts) == labels).float().mean())


def _halved(images: Tensor) -> Tensor:
    return F.avg_pool2d(images.float(), 2).round().to(torch.uint8)


def train(model: nn.Module, data: Images, epochs: float, lr: float, seed: int) -> None:
    """SGD with momentum, weight decay 5e-4 and one cycle; a fraction of an epoch takes as many images."""
    total = steps(data, epochs)
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    descend(model, data, optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=total), total, seed)


def steps(data: Images, epochs: float) -> int:
    return int(epochs * (len(data.splits["train"][0]) // BATCH))


def descend(
    model: nn.Module,
    data: Images,
    optimizer: Optimizer,
    schedule: LRScheduler,
    total: int,
    seed: int,
    loss_of: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> nn.Module:
    """So many training steps, on cross entropy unless told; the model is in evaluation mode afterwards."""
    loss_of = loss_of or F.cross_entropy
    generator = torch.Generator().manual_seed(seed)
    model.train()
    done = 0
    while done < total:
        for images, labels in data.batches(generator, (total - done) * BATCH):
            loss = loss_of(model(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            done += 1
    return model.eval()
