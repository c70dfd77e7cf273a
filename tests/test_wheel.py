"""The wheel by itself, in an environment that has the dependencies but not this checkout."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves files behind, which the next one would take for its own
    source.mkdir()
    for name in ("multipath_gcn", "conf"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(build, check=True)
    venv.create(folder / "env", with_pip=False)
    site = next((folder / "env").glob("lib/python*/site-packages"))
    (wheel,) = folder.glob("*.whl")
    bin_ = folder / "env" / "bin"
    # A path in a .pth file brings the dependencies, and not the editable install that is active beside them.
    (site / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            bin_ / "python",
            "install",
            "-q",
            "--no-deps",
            "--ignore-installed",
            wheel,
        ],
        check=True,
    )
    return bin_


def test_runs_from_another_directory(environment, tmp_path):
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    where = subprocess.run(
        [environment / "python", "-c", "import multipath_gcn; print(multipath_gcn.__file__)"],
        cwd=tmp_path,
        env=clean,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert str(environment.parent) in where
    for _ in range(2):
        subprocess.run(
            [environment / "multipath-gcn", "data=digits", "fit.epochs=2"],
            cwd=tmp_path,
            env=clean,
            check=True,
            capture_output=True,
        )
    (result,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("result.json"))
    assert result["epochs"] == 2
    report = subprocess.run(
        [environment / "multipath-gcn-report", "runs"],
        cwd=tmp_path,
        env=clean,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "digits" in report and (tmp_path / "runs/report/report.md").exists()


def test_ships_configs_types_and_licence(environment):
    site = next((environment.parent).glob("lib/python*/site-packages"))
    assert (site / "multipath_gcn/py.typed").exists()
    shipped = {path.relative_to(site / "multipath_gcn/conf") for path in (site / "multipath_gcn/conf").rglob("*.yaml")}
    assert shipped == {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    assert list(site.glob("multipath_gcn-*.dist-info/licenses/LICENSE"))
