"""Several processes that train one network together: who has started them.

Nobody is asked how many there are: ``torchrun`` and jobs with several tasks (submitit, ``tasks_per_node``) say it.
"""

import os

_SUBMITIT_TASKS = ("SUBMITIT_LOCAL_NTASKS", "SLURM_NTASKS")


def join() -> tuple[int, int]:
    """(rank of this process, number of processes), from what started it."""
    if "SUBMITIT_EXECUTOR" in os.environ and any(int(os.environ.get(name, 1)) > 1 for name in _SUBMITIT_TASKS):
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
