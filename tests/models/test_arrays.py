import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from multipath_gcn.kernels import Network
from multipath_gcn.models import VGG, MobileNet, ResNet, save_arrays
from multipath_gcn.nn import DepthwiseSeparableConv2d, GroupedConv2d


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def sliding(*args, **kwargs):
    return DepthwiseSeparableConv2d(*args, **kwargs, pointwise="sliding", groups=4, overlap=0.5)


def ready(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3), nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


@pytest.mark.parametrize("convolution", [GroupedConv2d, sliding])
@pytest.mark.parametrize("form", ["cifar", "imagenet"])
@pytest.mark.parametrize(("build", "options"), [(MobileNet, {}), (VGG, {}), (ResNet, {}), (ResNet, {"depth": 50})])
def test_networks_compute_the_same_without_torch(build, options, form, convolution, tmp_path):
    if build is VGG and form == "imagenet":
        pytest.skip("pools to 7 x 7: below, it is refused")
    model = ready(build(3, 10, width=0.25, form=form, convolution=convolution, **options))
    save_arrays(model, tmp_path / "net.npz")
    x = torch.randn(2, 3, 32, 32)
    network = Network(tmp_path / "net.npz")
    wanted = model(x).detach().numpy()
    for images in (x.numpy(), x.contiguous(memory_format=torch.channels_last).numpy()):
        np.testing.assert_allclose(network(images, threads=2), wanted, rtol=1e-4, atol=1e-5)


def test_uneven_padding_and_a_convolution_after_the_average(tmp_path):
    first = GroupedConv2d(3, 4, 3, padding=((0, 1), (2, 1)))
    model = nn.Sequential(first, nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.Flatten()).eval()
    save_arrays(model, tmp_path / "net.npz")
    x = torch.randn(2, 3, 7, 7)
    np.testing.assert_allclose(
        Network(tmp_path / "net.npz")(x.numpy()), model(x).detach().numpy(), rtol=1e-4, atol=1e-6
    )


def test_double_precision_and_facts(tmp_path):
    model = ready(MobileNet(1, 4, width=0.25)).double()
    save_arrays(model, tmp_path / "net.npz", mean=[0.5], names=["a", "b"])
    network = Network(tmp_path / "net.npz")
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    np.testing.assert_allclose(network(x.numpy()), model(x).detach().numpy(), rtol=1e-10)
    assert network.facts == {"mean": [0.5], "names": ["a", "b"]}


def test_a_plain_sequence_with_relu_and_pooling(tmp_path):
    layers = nn.Conv2d(3, 8, 3, 2, padding="valid"), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Dropout()
    model = nn.Sequential(*layers, nn.Linear(72, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    save_arrays(model, tmp_path / "net.npz")
    x = torch.randn(4, 3, 12, 12)
    np.testing.assert_allclose(
        Network(tmp_path / "net.npz")(x.numpy()), model(x).detach().numpy(), rtol=1e-4, atol=1e-6
    )


def test_needs_no_torch(tmp_path):
    save_arrays(ready(MobileNet(1, 4, width=0.25)), tmp_path / "net.npz")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np; from multipath_gcn.kernels import Network\n"
        f"print(Network({str(tmp_path / 'net.npz')!r})(np.zeros((2, 1, 8, 8), np.float32)).shape)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "(2, 4)"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (VGG(3, 10, depth=11, width=0.125, form="imagenet"), "got pool: AdaptiveAvgPool2d"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid()), "got 1: Sigmoid"),
        (nn.Sequential(nn.ReLU()), "got 0: ReLU"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")), "got 0: Conv2d"),
        (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), "got 0: MaxPool2d"),
        (nn.Sequential(Residual(nn.Conv2d(3, 3, 3, padding=1))), "got 0: Residual"),
        (nn.Sequential(nn.Flatten(2)), "got 0: Flatten"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2)), r"flatten images once, .* got \['conv', 'linear'\]"),
        (nn.Sequential(nn.Flatten(), nn.Conv2d(3, 4, 3)), r"flatten images once, .* got \['flatten', 'conv'\]"),
        (
            nn.Conv2d(3, 4, 3, dtype=torch.bfloat16),
            "float32 or float64 to be stored, got bias of type torch.bfloat16",
        ),
    ],
    ids=["pool", "sigmoid", "relu", "padding", "ceil", "residual", "flatten", "unflattened", "flattened", "bfloat16"],
)
def test_refuses_what_it_cannot_store(model, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save_arrays(model, tmp_path / "net.npz")
    assert not (tmp_path / "net.npz").exists()


def test_refuses_files_of_others_and_wrong_images(tmp_path):
    other = tmp_path / "other.npz"
    np.savez(other, x=np.zeros(3))
    with pytest.raises(ValueError, match=r"path must name a file of save_arrays, .*other.npz is none"):
        Network(other)
    with pytest.raises(ValueError, match="is none"):
        Network(tmp_path / "absent.npz")
    save_arrays(ready(MobileNet(1, 4, width=0.25)), tmp_path / "net.npz")
    whole = (tmp_path / "net.npz").read_bytes()
    other.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is none"):
        Network(other)
    network = Network(tmp_path / "net.npz")
    assert network(np.zeros((0, 1, 8, 8), np.float32)).shape == (0, 4)
    with pytest.raises(ValueError, match="channels"):
        network(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(ValueError, match="images must be"):
        network([1, 2])
