from torch import nn


def hooked(module: nn.Module) -> bool:
    """Whether somebody expects the module to be called itself."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(map(len, hooks))
