"""Several processes that train one network together: who has started them.

Nobody is asked how many there are: ``torchrun`` and jobs with several tasks (submitit, ``tasks_per_node``) say it.
"""

import os

_TASKS = ("SUBMITIT_LOCAL_NTASKS", "SLURM_NTASKS")


def in_a_job() -> bool:
    """Whether submitit runs this process as a task of a job."""
    return "SUBMITIT_EXECUTOR" in os.environ


def place() -> tuple[int, int]:
    """(rank of this process, number of processes), in the variables that torchrun sets; a job's tasks get them here."""
    if in_a_job() and any(int(os.environ.get(name, 1)) > 1 for name in _TASKS):
        from submitit.helpers import TorchDistributedEnvironment

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
