"""Fabric for this process, alone or one of several that train a network together."""

import atexit
import inspect
import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy

from multipath_gcn.processes import place

# PyTorch 2.13 has renamed it.
_SYNC_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(torch.nn.parallel.DistributedDataParallel).parameters
)


def make_fabric(device: str, precision: str, loggers: Any = ()) -> Fabric:
    """Of one device for this process; data-parallel (DDP: NCCL between GPUs, gloo between CPUs) with the others."""
    _, count = place()
    if count == 1:
        return Fabric(accelerator=device, devices=1, precision=precision, loggers=loggers)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 0))
    if here < 1 or count % here:
        raise ValueError(f"LOCAL_WORLD_SIZE must divide WORLD_SIZE={count}, as torchrun sets both, got {here}")
    fabric = Fabric(
        accelerator=device,
        devices=here,
        num_nodes=count // here,
        precision=precision,
        loggers=loggers,
        strategy=DDPStrategy(**{_SYNC_BUFFERS: False}),  # statistics of norms are averaged before an evaluation
        plugins=[TorchElasticEnvironment()],  # reads the variables that all of these launchers set
    )
    fabric.launch()
    atexit.register(_leave)
    return fabric


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
