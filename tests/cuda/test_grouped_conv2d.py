"""The operators of csrc/cuda/grouped_conv2d.cu equal their definition: emulated everywhere, and on a GPU."""

import random
import subprocess

import pytest
import torch
from convolutions import DTYPES, GEOMETRIES, IMAGES, SIZES, Problem, check_operators, definition, fits
from matrices import assert_equal

pytestmark = pytest.mark.usefixtures("our_convolution")


@pytest.fixture(params=["emulated", "cuda"])
def backend(request):
    """(operators, device)"""
    if request.param == "cuda":
        return torch.ops.multipath_gcn, request.getfixturevalue("cuda")
    return request.getfixturevalue("emulated_operators"), torch.device("cpu")


def check(backend, problem):
    try:
        check_operators(backend[0], problem)
    except AssertionError as error:
        raise AssertionError(str(problem)) from error


def on_some_device(pick, monkeypatch):
    monkeypatch.setenv("EMULATED_MULTIPROCESSORS", pick.choice(["1", "3", "200"]))  # blocks of filters, shares, slices
    monkeypatch.setenv("EMULATED_BLOCKS", pick.choice(["1", "2", ""]))  # blocks that walk from item to item
    monkeypatch.setenv("EMULATED_ORDER", pick.choice(["", "reverse"]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_operators_equal_the_definition(backend, geometry, dtype, monkeypatch):
    pick = random.Random(f"{geometry} {dtype}")
    for size in SIZES:
        on_some_device(pick, monkeypatch)
        image = pick.choice([image for image in IMAGES if fits(image[1:], geometry)])
        check(backend, Problem(size, geometry, image, dtype, backend[1], pick))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=("planar", "channels_last")
)
@pytest.mark.parametrize("channels,groups", [(1, 40), (2, 24), (4, 16), (8, 12)])
def test_sizes_as_networks_have_them(backend, channels, groups, memory_format, dtype, monkeypatch):
    """Aligned sizes that fill blocks, and have several; stride 1 and 2."""
    pick = random.Random(f"{channels} {memory_format} {dtype}")
    for geometry in GEOMETRIES[:2]:
        monkeypatch.setenv("EMULATED_MULTIPROCESSORS", pick.choice(["1", "20"]))
        problem = Problem((channels, channels, groups), geometry, (2, 14, 14), dtype, backend[1], pick)
        problem.x, problem.grad = (t.contiguous(memory_format=memory_format) for t in (problem.x, problem.grad))
        check(backend, problem)


@pytest.mark.parametrize("channels", [1, 4])
def test_weights_in_several_parts(backend, channels):
    """More weights than shared memory holds at a time."""
    for geometry in (((31, 31), (1, 1), (15, 15, 15, 15), (1, 1)), ((13, 3), (1, 1), (6, 6, 1, 1), (1, 1))):
        problem = Problem((channels, 8, 4), geometry, (1, 9, 9), torch.float64, backend[1], random.Random(0))
        for memory_format in (torch.contiguous_format, torch.channels_last):
            problem.x = problem.x.contiguous(memory_format=memory_format)
            check(backend, problem)
    wide = Problem((160, 8, 1), GEOMETRIES[0], (1, 5, 6), torch.float32, backend[1], random.Random(1))
    check(backend, wide)


@pytest.mark.parametrize("geometry", GEOMETRIES[:6], ids=str)
def test_nans_and_infinities_stay_inside_their_windows(backend, geometry):
    device = backend[1]
    problem = Problem((4, 4, 3), geometry, (2, 13, 11), torch.float32, device, random.Random(0))
    bad = torch.tensor([torch.nan, torch.inf, -torch.inf])
    for t in (problem.x, problem.grad):
        if t._is_view() and 0 in t.stride():
            continue  # one value, expanded
        places = torch.randint(t.numel(), (4,))
        t[tuple(p.to(device) for p in torch.unravel_index(places, t.shape))] = bad[places % 3].to(device)
    check(backend, problem)


def test_the_same_bits_for_every_order_of_threads(backend, monkeypatch):
    ops, device = backend
    x, weight = torch.randn(4, 24, 15, 17, device=device), torch.randn(48, 4, 3, 3, device=device)
    grad, geometry = torch.randn(4, 48, 8, 9, device=device), ([2, 2], [1, 1, 1, 1], [1, 1], 6)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        tensors = [t.contiguous(memory_format=memory_format) for t in (x, grad)]

        def run(x, grad):
            return (
                ops.grouped_conv2d(x, weight, None, *geometry, False),
                ops.grouped_conv2d_input_grad(grad, weight, [15, 17], *geometry),
                ops.grouped_conv2d_weight_grad(grad, x, [3, 3], *geometry),
            )

        first = run(*tensors)
        for blocks, order in (("1", ""), ("3", "reverse"), ("", "reverse")):
            monkeypatch.setenv("EMULATED_BLOCKS", blocks)
            monkeypatch.setenv("EMULATED_ORDER", order)
            for got, want in zip(run(*tensors), first, strict=True):
                assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_are_rounded_once(backend, dtype):
    """Random values: sums of at least 24 bits, and a result rounded to its type."""
    ops, device = backend
    x, weight = torch.randn(3, 16, 20, 20).to(dtype), torch.randn(16, 8, 3, 3).to(dtype)
    grad, geometry = torch.randn(3, 16, 20, 20).to(dtype), ([1, 1], [1, 1, 1, 1], [1, 1], 2)
    for name, first, second, *rest in (
        ("grouped_conv2d", x, weight, None, *geometry, False),
        ("grouped_conv2d_input_grad", grad, weight, [20, 20], *geometry),
        ("grouped_conv2d_weight_grad", grad, x, [3, 3], *geometry),
    ):
        got = getattr(ops, name)(first.to(device), second.to(device), *rest).cpu()
        exact, sizes = (
            getattr(definition(), name)(f(first.double()), f(second.double()), *rest)
            for f in (torch.positive, torch.abs)
        )
        sums = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
        bound = 40 * sums * sizes + torch.finfo(dtype).eps * exact.abs() + torch.finfo(dtype).tiny
        assert ((got.double() - exact).abs() <= bound).all(), name


def test_images_further_apart_than_two_to_the_31_elements(backend):
    ops, device = backend
    if device.type == "cuda" and torch.cuda.mem_get_info()[0] < 5 << 30:
        pytest.skip("too little memory")
    far = 2**31 + 48
    x = torch.empty(far + 200, dtype=torch.bfloat16, device=device).as_strided((2, 2, 5, 5), (far, 25, 5, 1))
    near = torch.randint(-3, 4, (2, 2, 5, 5)).to(device, torch.bfloat16)
    x.copy_(near)  # never touched between
    weight, geometry = torch.ones(2, 1, 3, 3, dtype=torch.bfloat16, device=device), ([1, 1], [1] * 4, [1, 1], 2)
    assert_equal(*(ops.grouped_conv2d(t, weight, None, *geometry, False) for t in (x, near)))
    assert_equal(*(ops.grouped_conv2d_input_grad(t, weight, [5, 5], *geometry) for t in (x, near)))
    assert_equal(*(ops.grouped_conv2d_weight_grad(t, t, [3, 3], *geometry) for t in (x, near)))


def test_no_channels_and_no_images(backend):
    ops, device = backend
    geometry = ([1, 1], [1] * 4, [1, 1], 2)
    bias = torch.tensor([1.0, -2.0], device=device)
    y = ops.grouped_conv2d(
        torch.ones(3, 0, 4, 4, device=device), torch.ones(2, 0, 3, 3, device=device), bias, *geometry, False
    )
    assert_equal(y, bias.view(1, 2, 1, 1).expand(3, 2, 4, 4).contiguous())
    none = torch.ones(0, 2, 4, 4, device=device)
    assert not ops.grouped_conv2d_weight_grad(none, none, [3, 3], *geometry).any()


def test_an_error_names_argument_rule_and_value(backend):
    ops, device = backend
    x, weight = torch.ones(2, 8, 7, 7, device=device), torch.ones(8, 4, 3, 3, device=device)
    one, none = [1, 1], [0] * 4
    for message, name, *args in (
        (
            r"x must have shape \[N, C, H, W\], got \[8, 7, 7\]",
            "grouped_conv2d",
            x[0],
            weight,
            None,
            one,
            none,
            one,
            2,
            False,
        ),
        ("groups must divide both", "grouped_conv2d", x, weight, None, one, none, one, 3, False),
        ("bias must have shape", "grouped_conv2d", x, weight, x[0, 0, 0], one, none, one, 2, False),
        ("takes float32, float64", "grouped_conv2d", x.int(), weight.int(), None, one, none, one, 2, False),
        (
            "at most 2147483647 high and wide",
            "grouped_conv2d",
            x,
            weight,
            None,
            one,
            [2**31 - 9, 3, 0, 0],
            one,
            2,
            False,
        ),
        ("grad must have shape", "grouped_conv2d_input_grad", x, weight, [7, 7], one, none, one, 2),
        ("grad must have the dtype", "grouped_conv2d_weight_grad", x.double(), x, [3, 3], one, [1] * 4, one, 2),
    ):
        with pytest.raises(RuntimeError, match=message):
            getattr(ops, name)(*args)


def test_launches_follow_from_sizes(compile_all, tmp_path):
    program = tmp_path / "conv_shape"
    compile_all([["-fsanitize=undefined", "tests/cuda/conv_shape.cpp", "-o", program]])
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
