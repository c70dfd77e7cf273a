import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import multipath_gcn
from multipath_gcn import _native
from multipath_gcn.ops import reference


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.fixture
def anew(monkeypatch):
    monkeypatch.setattr(_native, "_loaded", set())


def test_a_missing_library_is_one_clear_error(anew, monkeypatch):
    monkeypatch.setattr(_native, "find_library", lambda name: None)
    with pytest.raises(ImportError) as caught:
        _native.load()
    text = str(caught.value)
    assert "there is no _C.c" in text and str(Path(multipath_gcn.__file__).parent) in text  # what, where
    assert torch.__version__ in text
    assert "pip install --no-build-isolation -e ." in text and "MULTIPATH_GCN_NATIVE=reference" in text
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_library_that_does_not_load_is_the_same_error(anew, monkeypatch, tmp_path):
    path = tmp_path / "_C.so"
    path.write_text("not a library")
    monkeypatch.setattr(_native, "find_library", lambda name: path)
    with pytest.raises(ImportError, match=rf"cannot be loaded.*{path}.*no-build-isolation") as caught:
        _native.load()
    assert isinstance(caught.value.__cause__, OSError)


def test_libraries_are_loaded_once_and_cuda_only_with_cuda(anew, monkeypatch):
    loaded = []
    monkeypatch.setattr(_native, "find_library", lambda name: f"{name}.so")
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    monkeypatch.setattr(torch.version, "cuda", None)
    _native.load()
    assert loaded == ["_C.so"]
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    _native.load()
    _native.load()
    assert loaded == ["_C.so", "_C_cuda.so"]


@pytest.mark.parametrize("value", ["Reference", "1", ""])
def test_the_mode_is_one_of_two(monkeypatch, value):
    monkeypatch.setenv("MULTIPATH_GCN_NATIVE", value)
    with pytest.raises(
        ValueError, match=rf"MULTIPATH_GCN_NATIVE must be one of .*'native', 'reference'.*got '{value}'"
    ):
        _native.mode()


def test_the_mode_is_native_unless_asked(monkeypatch):
    monkeypatch.delenv("MULTIPATH_GCN_NATIVE", raising=False)
    assert _native.mode() == "native"
    monkeypatch.setenv("MULTIPATH_GCN_NATIVE", "reference")
    assert _native.mode() == "reference"


def test_reference_mode_has_the_operators_and_loads_nothing():
    code = """
import torch
from multipath_gcn import _native
_native.find_library = None
from multipath_gcn.ops import ChannelWindows, channel_transform, pack_weight, reference
windows = ChannelWindows.sliding(6, 4, 2, "1/3")
x, weight = torch.randn(5, 6, dtype=torch.float64, requires_grad=True), torch.randn(4, 3, dtype=torch.float64)
assert torch.autograd.gradcheck(lambda x: channel_transform(x, weight, windows), x)
with torch.no_grad():
    y = channel_transform(x, pack_weight(weight, windows), windows)
    assert torch.equal(y, reference.channel_transform.channel_transform(x, weight, None, *windows.on("cpu"), -1, False))
from multipath_gcn.ops import grouped_conv2d, prepack_conv2d
x, weight = torch.randn(2, 6, 5, 5, dtype=torch.float64, requires_grad=True), torch.randn(4, 3, 3, 3, dtype=torch.float64)
assert torch.autograd.gradcheck(lambda x: grouped_conv2d(x, weight, groups=2), x)
with torch.no_grad():
    assert torch.equal(prepack_conv2d(weight, groups=2)(x), grouped_conv2d(x, weight, groups=2))
print("Library" in str(reference.LIBRARY), _native._loaded)
"""
    result = run(code, MULTIPATH_GCN_NATIVE="reference")
    assert result.stdout.strip() == "True set()", result.stderr


SCHEMAS = [schema for schemas in reference.SCHEMAS.values() for schema in schemas]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda s: s.partition("(")[0])
def test_the_loaded_operators_have_the_schemas_of_reference_mode(schema):
    name = schema.partition("(")[0]
    assert torch._C.parse_schema(f"multipath_gcn::{schema}") == getattr(torch.ops.multipath_gcn, name).default._schema
