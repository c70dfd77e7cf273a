from torch import nn
from torch.nn.modules import module as modules


def hooked(module: nn.Module, everywhere: bool = False) -> bool:
    """Whether somebody expects the module to be called itself; ``everywhere``, also by a hook on all modules."""
    if everywhere and (modules._global_forward_hooks or modules._global_backward_hooks):
        return True
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(map(len, hooks))
