"""The operators of csrc/library.cpp, loaded: compiled, or where ``MULTIPATH_GCN_NATIVE`` says so their definitions."""

import torch

from multipath_gcn import _native
from multipath_gcn.ops import reference

if _native.mode() == "reference":
    reference.define()
else:
    _native.load()

OPS = torch.ops.multipath_gcn
