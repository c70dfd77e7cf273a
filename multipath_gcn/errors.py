"""What a user is told of an error: one sentence."""

from hydra.errors import HydraException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException


def sentence(error: BaseException) -> str:
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
