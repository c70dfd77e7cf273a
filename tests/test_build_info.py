import os
import subprocess
import sys

import pytest
import torch

import multipath_gcn

NO_TORCH = "import sys; sys.modules['torch'] = None; import multipath_gcn as m; "  # and its second of import


def fresh(code, **environment):
    """The output of Python code in a new process."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True).stdout


def test_tells_what_was_built_and_what_runs():
    info = multipath_gcn.build_info()
    assert info.version == multipath_gcn.__version__
    assert set(info.libraries) == {"_C", "_C_cuda", "_kernels"}
    assert all(info.libraries[name].parent.name == "multipath_gcn" for name in ("_C", "_kernels"))
    assert info.torch_target == "2.10" and info.torch == torch.__version__
    assert (info.torch_cuda, info.cuda_available) == (torch.version.cuda, torch.cuda.is_available())
    assert info.isas[0] == "baseline" and info.isa in info.isas and info.compiler


def test_reads_as_a_table():
    info = multipath_gcn.build_info()
    text = str(info)
    assert f"torch_target    {info.torch_target}\n" in text
    assert f"isas            {', '.join(info.isas)}\n" in text
    assert f"_C: {info.libraries['_C']}\n" in text
    if info.libraries["_C_cuda"] is None:
        assert "_C_cuda: not built" in text


@pytest.mark.parametrize("isa", multipath_gcn.build_info().isas)
def test_instruction_set_can_be_forced(isa):
    code = NO_TORCH + "i = m.build_info(); print(i.isa, 'by', i.isa_chosen_by)"
    assert fresh(code, MULTIPATH_GCN_ISA=isa).strip() == f"{isa} by MULTIPATH_GCN_ISA"
    widest = multipath_gcn.build_info().isas[-1]
    assert fresh(code, MULTIPATH_GCN_ISA="").strip() == f"{widest} by the CPU"


def test_unknown_instruction_set_is_told_and_not_raised():
    code = NO_TORCH + "i = m.build_info(); print(i.isa, 'because', i.isa_chosen_by)"
    answer = fresh(code, MULTIPATH_GCN_ISA="mmx")
    assert answer.startswith("None because MULTIPATH_GCN_ISA must be one of baseline") and "'mmx'" in answer


def test_imports_no_torch_by_itself():
    assert fresh("import sys, multipath_gcn; print('torch' in sys.modules)").strip() == "False"


def test_without_torch_or_kernels():
    code = """
import sys
sys.modules["torch"] = sys.modules["multipath_gcn._kernels"] = None
import multipath_gcn
info = multipath_gcn.build_info()
assert "torch" in info.torch and info.torch_cuda is None and info.cuda_available is False
assert info.isa is None and info.isas == () and info.compiler is None and "_kernels" in info.isa_chosen_by
print(info)
"""
    assert "torch" in fresh(code)
