"""The console script ``multipath-gcn``: Hydra with errors a user can act on."""

import os
import sys

from hydra.errors import HydraException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from multipath_gcn.train import main as run

_USER_ERRORS = (ValueError, TypeError, OSError, RuntimeError, FloatingPointError, ImportError)


def main() -> None:
    """Runs the Hydra application; a refused input ends in one sentence and status 1.

    ``HYDRA_FULL_ERROR=1`` shows the whole traceback instead.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        run()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print a traceback of its own and end the process
    try:
        run()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (HydraException, OmegaConfBaseException, *_USER_ERRORS) as error:
        print(f"multipath-gcn: {_sentence(error)}", file=sys.stderr)
        print("HYDRA_FULL_ERROR=1 shows where.", file=sys.stderr)
        sys.exit(1)
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


def _sentence(error: BaseException) -> str:
    """The message of the error that began it, with the keys that exist where one was unknown."""
    root = error
    while isinstance(root, (HydraException, OmegaConfBaseException)) and root.__cause__ is not None:
        root = root.__cause__
    message = str(error)
    if isinstance(root, OmegaConfBaseException | TypeError):  # only the outer message names the key
        message += "" if str(root) in message else f": {root}"
    else:
        message = str(root)
    if isinstance(root, ConfigKeyError | ConfigAttributeError) and hasattr(root.parent_node, "keys"):
        message += f"\nKeys that exist there: {', '.join(sorted(map(str, root.parent_node.keys())))}"
    return message
