"""The wheel by itself, in environments that have some of the dependencies but not this checkout."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from multipath_gcn._build_info import find_library

ROOT = Path(__file__).parents[1]
CLEAN = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves files behind, which the next one would take for its own
    source.mkdir()
    for name in ("multipath_gcn", "conf", "csrc"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    if (ROOT / "build/objects").exists():  # those of the installation serve again: only linking is left
        shutil.copytree(ROOT / "build/objects", source / "build/objects")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel, folder):
    """A new environment that holds the wheel alone: its bin and site-packages."""
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--ignore-installed", wheel]
    subprocess.run(pip, check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    return folder / "bin", site


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    bin_, site = install(wheel, tmp_path_factory.mktemp("full"))
    # A path in a .pth file brings the dependencies, and not the editable install that is active beside them.
    (site / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    return bin_


def run(*command, **options):
    return subprocess.run(command, env=CLEAN, check=True, capture_output=True, text=True, **options).stdout


def test_tag_agrees_with_the_files(wheel):
    _, _, _, tags = parse_wheel_filename(wheel.name)
    (tag,) = tags
    interpreter = "cp{}{}".format(*sys.version_info)
    assert (tag.interpreter, tag.abi) == (interpreter, interpreter)  # one wheel per CPython, never abi3
    assert tag.platform == sysconfig.get_platform().replace("-", "_")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/WHEEL"))
        assert f"Tag: {tag}" in metadata and "Root-Is-Purelib: false" in metadata
        built = {name for name in ("_C", "_C_cuda", "_kernels") if find_library(name)}
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        binaries = [name for name in names if ".so" in name]
        assert set(binaries) == {f"multipath_gcn/{name}{suffix}" for name in built} and {"_C", "_kernels"} <= built
        machine = next(number for name, number in ELF_MACHINES.items() if tag.platform.endswith(name))
        for name in binaries:
            header = archive.read(name)[:20]
            assert header[:4] == b"\x7fELF" and int.from_bytes(header[18:20], sys.byteorder) == machine
    assert not [name for name in names if name.startswith(("csrc", "tests", "build"))]


def test_runs_from_another_directory(environment, tmp_path):
    where = run(environment / "python", "-c", "import multipath_gcn; print(multipath_gcn.__file__)", cwd=tmp_path)
    assert str(environment.parent) in where
    for _ in range(2):
        run(environment / "multipath-gcn", "data=digits", "fit.epochs=2", cwd=tmp_path)
    (result,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("result.json"))
    assert result["epochs"] == 2
    report = run(environment / "multipath-gcn-report", "runs", cwd=tmp_path)
    assert "digits" in report and (tmp_path / "runs/report/report.md").exists()


def test_operators_run_from_another_directory(environment, tmp_path):
    code = """
import torch, multipath_gcn
from multipath_gcn.nn import SlidingChannelLinear
layer = SlidingChannelLinear(6, 8, groups=2, overlap=0.5)
y = layer(torch.ones(3, 6))
y.sum().backward()
assert y.shape == (3, 8) and layer.weight.grad.shape == (8, 3)
print(multipath_gcn.build_info().libraries["_C"])
"""
    assert str(environment.parent) in run(environment / "python", "-c", code, cwd=tmp_path)


def test_ships_configs_types_and_licence(environment):
    site = next((environment.parent).glob("lib/python*/site-packages"))
    assert (site / "multipath_gcn/py.typed").exists()
    shipped = {path.relative_to(site / "multipath_gcn/conf") for path in (site / "multipath_gcn/conf").rglob("*.yaml")}
    assert shipped == {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    assert list(site.glob("multipath_gcn-*.dist-info/licenses/LICENSE"))


def test_kernels_need_numpy_but_no_torch(wheel, tmp_path):
    bin_, site = install(wheel, tmp_path / "env")
    numpy = Path(importlib.util.find_spec("numpy").origin).parent
    for folder in (numpy, numpy.with_name("numpy.libs")):
        if folder.exists():
            (site / folder.name).symlink_to(folder)
    code = """
import importlib.util
assert importlib.util.find_spec("torch") is None
import numpy as np
import multipath_gcn, multipath_gcn.kernels
from multipath_gcn.windows import ChannelWindows
info = multipath_gcn.build_info()
assert "torch" in info.torch and info.torch_cuda is None and not info.cuda_available
windows = ChannelWindows.sliding(4, 4, 2, 0.5)
weight = np.arange(8, dtype=np.float32).reshape(4, 2)
print(info.isa, multipath_gcn.kernels.channel_transform(np.ones((1, 4), np.float32), weight, windows).tolist())
"""
    answer = run(bin_ / "python", "-c", code, cwd=tmp_path)
    assert answer.split(maxsplit=1)[1].strip() == "[[1.0, 5.0, 9.0, 13.0]]"
