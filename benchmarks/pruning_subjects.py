"""Networks for benchmarks/pruning.py: small ones, trained on 20,000 images of CIFAR-10 at 16 x 16."""

from pathlib import Path

import torch
from small_images import Images, train
from torch import nn

from multipath_gcn.models import VGG, ResNet

NETWORKS = {
    "vgg_mini": lambda: VGG(3, 10, stages=((24, 24), (48, 48), (96, 96))),
    "resnet_mini": lambda: ResNet(3, 10, width=0.25, blocks=(2, 2, 2)),
}


def subject(name: str, seed: int, data: Images, folder: Path, epochs: float = 6) -> nn.Module:
    """A trained network, from ``folder`` if it is there."""
    torch.manual_seed(seed)
    model, path = NETWORKS[name]().to(memory_format=torch.channels_last), folder / f"{name}-{seed}.pt"
    if path.is_file():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    train(model, data, epochs, 0.1, seed)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return model
