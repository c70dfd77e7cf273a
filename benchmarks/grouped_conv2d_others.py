"""Other libraries' grouped convolution and whole networks, float32, forward; each is run in a process of its own.

Each maker gets what to compute, x as a NumPy array and the number of threads, and returns a callable that gives the
output, in the library's own kind of array (`values` makes it NumPy's): all that a library does ahead of time, the
packing of weights included, is done by then. Input and output are in memory handed over once, with no copies, where
the library allows it (ncnn and TVM make their own outputs). A library
gets x in planar memory, as it is used; OpenVINO also in channels-last memory. Batches in ncnn are images in turn.

TVM compiles its default schedule for the processor, untuned, which computes on one thread. ncnn computes 3x3 kernels of
few groups through Winograd's transform, with fewer multiplications.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import turns

Run = Callable[[], object]
# name: modules it needs
MODULES = {
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    "openvino_last": ("openvino", "onnx"),
    "ncnn": ("ncnn",),
    "tvm": ("tvm",),
}


@dataclass(frozen=True)
class Conv:
    weight: np.ndarray
    stride: int
    padding: int
    groups: int


def values(result: object) -> np.ndarray:
    """What a call returned, images of ncnn stacked."""
    if isinstance(result, list):
        return np.stack([np.array(image) for image in result])
    return result if isinstance(result, np.ndarray) else result.numpy()


def conv_onnxruntime(conv: Conv, x: np.ndarray, threads: int) -> Run:
    return onnxruntime_network(_onnx(conv, x), x, threads)


def conv_openvino(conv: Conv, x: np.ndarray, threads: int) -> Run:
    return openvino_network(_onnx(conv, x), x, threads)


def conv_openvino_last(conv: Conv, x: np.ndarray, threads: int) -> Run:
    return openvino_network(_onnx(conv, x), x, threads, last=True)


def onnxruntime_network(model: bytes, x: np.ndarray, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    cpus = turns.cpus()[:threads]
    if len(cpus) == threads > 1:  # processors are counted from 1; the thread that calls is no part of the pool
        options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(str(c + 1) for c in cpus[1:]))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    if cpus:
        os.sched_setaffinity(0, cpus[:1])
    binding = session.io_binding()
    name = session.get_inputs()[0].name
    binding.bind_input(name, "cpu", 0, np.float32, x.shape, x.ctypes.data)
    out = session.get_outputs()[0]
    y = np.empty(out.shape, np.float32)
    binding.bind_output(out.name, "cpu", 0, np.float32, y.shape, y.ctypes.data)

    def run(x=x):  # x is kept for its memory
        session.run_with_iobinding(binding)
        return y

    return run


def openvino_network(model: bytes, x: np.ndarray, threads: int, last: bool = False) -> Run:
    import openvino
    from openvino.preprocess import PrePostProcessor

    core = openvino.Core()
    network = core.read_model(model)
    if last:  # both ends; the library chooses what lies between
        ends = PrePostProcessor(network)
        for end in (ends.input(), ends.output()) if len(network.output(0).shape) == 4 else (ends.input(),):
            end.tensor().set_layout(openvino.Layout("NHWC"))
            end.model().set_layout(openvino.Layout("NCHW"))
        network = ends.build()
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads}
    settings["ENABLE_CPU_PINNING"] = bool(turns.cpus())
    settings["INFERENCE_PRECISION_HINT"] = "f32"  # by default it computes in bfloat16 where the processor can
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    y = np.empty(tuple(network.output(0).shape), np.float32)
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    request.set_output_tensor(openvino.Tensor(y, shared_memory=True))

    def run(x=x):
        request.infer()
        return y.transpose(0, 3, 1, 2) if last and y.ndim == 4 else y

    return run


def conv_ncnn(conv: Conv, x: np.ndarray, threads: int) -> Run:
    import tempfile
    from pathlib import Path

    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    for half in ("fp16_storage", "fp16_packed", "fp16_arithmetic", "bf16_storage", "bf16_packed"):
        setattr(net.opt, f"use_{half}", False)
    kind = "Convolution" if conv.groups == 1 else "ConvolutionDepthWise"
    values = {0: len(conv.weight), 1: conv.weight.shape[2], 3: conv.stride, 4: conv.padding, 6: conv.weight.size}
    values |= {7: conv.groups} if conv.groups > 1 else {}
    settings = " ".join(f"{key}={value}" for key, value in values.items())
    if net.load_param_mem(f"7767517\n2 2\nInput x 0 1 x\n{kind} y 1 1 x y {settings}\n"):
        raise ValueError(f"ncnn must take {kind} {settings}")
    with tempfile.TemporaryDirectory() as folder:  # weights are read from files only
        path = Path(folder) / "weights.bin"
        path.write_bytes(bytes(4) + conv.weight.tobytes())  # 0: float32
        if net.load_model(str(path)):
            raise ValueError(f"ncnn must take the weights of {kind} {settings}")
    images = [ncnn.Mat(image) for image in x]

    def run(x=x):
        found = []
        for image in images:
            extractor = net.create_extractor()
            extractor.input("x", image)
            status, y = extractor.extract("y")
            if status:
                raise ValueError(f"ncnn must compute {kind} {settings}, got status {status}")
            found.append(y)
        return found

    return run


def conv_tvm(conv: Conv, x: np.ndarray, threads: int) -> Run:
    import tvm
    from tvm import relax

    builder = relax.BlockBuilder()
    argument = relax.Var("x", relax.TensorType(x.shape, "float32"))
    with builder.function("main", [argument]):
        with builder.dataflow():
            padding, strides = (conv.padding,) * 2, (conv.stride,) * 2
            node = relax.op.nn.conv2d(
                argument, relax.const(conv.weight), strides=strides, padding=padding, groups=conv.groups
            )
            out = builder.emit_output(builder.emit(node))
        builder.emit_func_output(out)
    target = tvm.target.Target.from_device("cpu")
    main = relax.VirtualMachine(tvm.compile(builder.get(), target=target), tvm.cpu())["main"]
    held = tvm.runtime.tensor(x)
    return lambda: main(held)


def _onnx(conv: Conv, x: np.ndarray) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    sizes = [(s + 2 * conv.padding - conv.weight.shape[2]) // conv.stride + 1 for s in x.shape[2:]]
    ends = (("x", x.shape), ("y", (len(x), len(conv.weight), *sizes)))
    x_info, y_info = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends)
    sides = {"pads": [conv.padding] * 4, "strides": [conv.stride] * 2}
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=conv.groups, **sides)
    graph = helper.make_graph([node], "conv", [x_info], [y_info], [numpy_helper.from_array(conv.weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


MAKERS = {
    "onnxruntime": conv_onnxruntime,
    "openvino": conv_openvino,
    "openvino_last": conv_openvino_last,
    "ncnn": conv_ncnn,
    "tvm": conv_tvm,
}
