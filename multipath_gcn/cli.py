"""The console script ``multipath-gcn``: Hydra with errors a user can act on."""

import os
import sys
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from multipath_gcn import sweep
from multipath_gcn.errors import sentence
from multipath_gcn.job import main as run

_USER_ERRORS = (ValueError, TypeError, OSError, RuntimeError, FloatingPointError, ImportError)


def main() -> None:
    """Runs the Hydra application; a refused input ends in one sentence and status 1, a sweep with failed runs in a line
    for each of them.

    ``HYDRA_FULL_ERROR=1`` shows the whole traceback instead.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        try:
            run()
        finally:
            sweep.forget()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print a traceback of its own and end the process
    sweep.forget()
    try:
        sweep.check_choices(get_args_parser().parse_args().overrides)
        run()
        if _told_failures(sweep.failures()):  # of a search, which bears some
            sys.exit(1)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (HydraException, OmegaConfBaseException, *_USER_ERRORS) as error:
        reasons = _told_failures(sweep.failures())
        told = sentence(error)
        if " ".join(told.split()) not in reasons:  # such as a folder that is in use
            print(f"multipath-gcn: {told}", file=sys.stderr)
        print("HYDRA_FULL_ERROR=1 shows where.", file=sys.stderr)
        sys.exit(1)
    finally:
        sweep.forget()
        del os.environ["HYDRA_FULL_ERROR"]


def _told_failures(failed: list[tuple[Path, str]]) -> set[str]:
    """Prints them; the reasons that were told."""
    sweep.forget()  # the live picture of the sweep ends first
    if failed:
        print(f"multipath-gcn: {len(failed)} runs of the sweep have failed, the others are kept:", file=sys.stderr)
    for path, reason in failed:
        print(f"  {path}: {reason}", file=sys.stderr)
    return {reason for _, reason in failed}
