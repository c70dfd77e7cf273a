"""Every operator in plain PyTorch: the definitions that the kernels are tested against, and their slow replacement."""

from collections.abc import Callable

import torch

from multipath_gcn.ops.reference import (
    activate,
    channel_transform,
    gauge_sums,
    grouped_conv2d,
    propagate,
    separable_conv2d,
    transposed,
    uneven_conv2d,
)
from multipath_gcn.ops.reference.channel_transform import memory_format as memory_format

LIBRARY = None  # keeps what define() registered

_MATRIX = "Tensor rowptr, Tensor col, Tensor? weight, Tensor? row_scale, Tensor? col_scale"
_TRANSPOSED = "Tensor? rowptr_t, Tensor? col_t, Tensor? weight_t"
_CONV = "int[] stride, int[] padding, int[] dilation, int groups"
_SURFACE = "Tensor turn, Tensor wave, Tensor rowptr, Tensor col, Tensor rowptr_t, Tensor col_t, Tensor edge_t"
_ACTIVATION = "Tensor? bias, bool relu, float dropout, Tensor? seed"

# The operators of csrc/library.cpp, by the module that defines them; a test compares the two.
SCHEMAS = {
    channel_transform: (
        "channel_transform(Tensor x, Tensor weight, Tensor? bias, Tensor start, Tensor order, int channel_dim, "
        "bool relu) -> Tensor",
        "channel_transform_input_grad(Tensor grad, Tensor weight, Tensor start, Tensor order, int in_channels, "
        "int channel_dim) -> Tensor",
        "channel_transform_weight_grad(Tensor grad, Tensor x, Tensor start, Tensor order, int width, "
        "int channel_dim) -> Tensor",
        "channel_transform_pack(Tensor weight, Tensor start, Tensor order, int in_channels) -> Tensor",
        "channel_transform_packed(Tensor x, Tensor packed, Tensor? bias, Tensor start, Tensor order, "
        "int out_channels, int width, int channel_dim, bool relu) -> Tensor",
        "channel_transform_out(Tensor(a!) out, Tensor x, Tensor weight, Tensor? bias, Tensor start, Tensor order, "
        "int channel_dim, bool relu) -> ()",
        "channel_transform_input_grad_out(Tensor(a!) out, Tensor grad, Tensor weight, Tensor start, Tensor order, "
        "int in_channels, int channel_dim) -> ()",
    ),
    propagate: (
        f"propagate(Tensor x, {_MATRIX}, {_TRANSPOSED}) -> Tensor",
        f"propagate_out(Tensor(a!) out, Tensor x, {_MATRIX}, Tensor? kept, float dropout) -> ()",
        f"propagate_activated_out(Tensor(a!) out, Tensor x, {_MATRIX}, {_ACTIVATION}) -> Tensor",
        f"propagate_activated(Tensor x, {_MATRIX}, {_TRANSPOSED}, {_ACTIVATION}) -> (Tensor, Tensor)",
        "propagate_weight_grad(Tensor grad, Tensor x, Tensor rowptr, Tensor col, Tensor? row_scale, "
        "Tensor? col_scale) -> Tensor",
        f"propagate_extreme(Tensor x, {_MATRIX}, {_TRANSPOSED}, bool largest) -> (Tensor, Tensor)",
        f"propagate_extreme_grad(Tensor grad, Tensor source, {_MATRIX}) -> Tensor",
    ),
    activate: (
        f"activate(Tensor x, {_ACTIVATION}) -> (Tensor, Tensor)",
        "activate_grad(Tensor grad, Tensor kept, float dropout) -> (Tensor, Tensor)",
        f"activate_out(Tensor(a!) out, Tensor x, {_ACTIVATION}) -> Tensor",
        "activate_bias_grad(Tensor grad, Tensor kept, float dropout) -> Tensor",
        "combine(Tensor[] parts, float scale) -> Tensor",
    ),
    grouped_conv2d: (
        f"grouped_conv2d(Tensor x, Tensor weight, Tensor? bias, {_CONV}, bool relu) -> Tensor",
        f"grouped_conv2d_input_grad(Tensor grad, Tensor weight, int[] size, {_CONV}) -> Tensor",
        f"grouped_conv2d_weight_grad(Tensor grad, Tensor x, int[] kernel_size, {_CONV}) -> Tensor",
        f"grouped_conv2d_gradients(Tensor grad, Tensor x, Tensor weight, {_CONV}) -> (Tensor, Tensor)",
        f"grouped_conv2d_pack(Tensor weight, {_CONV}, bool relu) -> Tensor",
        "grouped_conv2d_packed(Tensor x, Tensor packed, Tensor? bias, Tensor? residual) -> Tensor",
        f"grouped_conv2d_kernel(Tensor x, int[] weight_size, {_CONV}, str place) -> str",
    ),
    separable_conv2d: (
        "separable_conv2d_packed(Tensor x, Tensor depthwise, Tensor? depthwise_bias, Tensor pointwise, Tensor? bias, "
        "Tensor start, Tensor order, int out_channels, int width, int out_height, int out_width, bool relu) -> Tensor",
    ),
    uneven_conv2d: ("uneven_conv2d(Tensor x, Tensor weight, Tensor layout, Tensor? bias, Tensor? residual) -> Tensor",),
    gauge_sums: (
        f"gauge_sums(Tensor x, {_SURFACE}) -> Tensor",
        f"gauge_sums_grad(Tensor grad, {_SURFACE}) -> Tensor",
    ),
    transposed: ("transposed(Tensor x) -> Tensor",),
}


def define() -> None:
    """Registers these functions as the operators, in place of the compiled ones."""
    global LIBRARY
    LIBRARY = torch.library.Library("multipath_gcn", "DEF")
    for schemas in SCHEMAS.values():
        for schema in schemas:
            LIBRARY.define(schema)
    for device in ("CPU", "CUDA"):
        for name, function in functions(device).items():
            plain = torch.autocast(device.lower(), enabled=False)  # a kernel is below autocast
            LIBRARY.impl(name, plain(function), device)


def functions(device: str) -> dict[str, Callable]:
    """What computes each operator: its definition, or a faster function of the same results where one is installed."""
    from multipath_gcn.ops.reference import scattered  # imports PyG, which takes seconds and no definition needs

    every = [(module, schema.partition("(")[0]) for module, schemas in SCHEMAS.items() for schema in schemas]
    defined = {name: getattr(module, name) for module, name in every}
    return defined | scattered.FUNCTIONS if device == "CPU" else defined
