import io
import os
import subprocess
import sys

import pandas as pd
import pytest
from rich.console import Console

from multipath_gcn.report import read_runs, summarise
from multipath_gcn.report.cli import main
from multipath_gcn.report.text import show_table


@pytest.fixture
def compared(runs, write_run):
    for seed in range(3):
        for model, test in (("plain", 0.80), ("multipath", 0.82)):
            write_run(f"{model}{seed}", seed=seed, model=model, test=test + 0.01 * seed)
    return runs


def test_files_and_output(compared, capsys):
    assert main([str(compared)]) == 0
    out = capsys.readouterr().out
    report = compared / "report"
    pictures = {"curves.png", "parameters.png", "seconds.png"}
    tables = {"report.csv", "report.md", "report.html", "leaderboard.csv", "leaderboard.md", "leaderboard.tex"}
    assert {path.name for path in report.iterdir()} == pictures | tables
    assert out.rstrip().endswith(f"Report: {report / 'report.md'}")
    assert out.index("83.00 ± 1.00") < out.index("81.00 ± 1.00")
    assert "hardware: Some CPU, 2 threads" in out
    assert "paper" not in out
    table = pd.read_csv(report / "report.csv")
    assert table["test_std"].tolist() == pytest.approx([1, 1], abs=1e-12)
    markdown = (report / "report.md").read_text(encoding="utf-8")
    assert "| cora | multipath | 1a2b3c4d | acc | 3 | 83.00 ± 1.00 |" in markdown
    assert "![curves](curves.png)" in markdown


def test_a_second_report_is_the_same(compared, capsys):
    main([str(compared)])
    first = capsys.readouterr().out
    main([str(compared)])
    assert capsys.readouterr().out == first


def test_every_problem_is_listed_everywhere(compared, write_run, capsys):
    (write_run("killed", seed=7) / "result.json").unlink()
    (write_run("broken", seed=8) / "result.json").write_text("{")
    write_run("wrong", seed=9, test="a|b")
    write_run("zdouble", seed=0, model="plain")
    (write_run("curveless", seed=10) / "history.csv").unlink()
    assert main([str(compared)]) == 0
    out = capsys.readouterr().out
    markdown = (compared / "report" / "report.md").read_text(encoding="utf-8")
    for text in (out, markdown):
        for name in ("killed", "broken", "wrong", "zdouble", "curveless"):
            assert str(compared / name) in text
        for title in ("Incomplete runs", "Corrupt runs", "Duplicate runs", "without a learning curve"):
            assert title in text
    assert pd.read_csv(compared / "report" / "report.csv")["seeds"].tolist() == [3, 4]


def test_baselines_and_both_protocols(compared, write_run, tmp_path, capsys):
    out = tmp_path / "out"
    args = [str(compared), "--out", str(out), "--protocol", "both", "--baseline", "plain", "--baseline", "multipath"]
    assert main(args) == 0
    text = capsys.readouterr().out
    assert "+2.00 [+2.00, +2.00]" in text
    assert "-2.00 [-2.00, -2.00]" in text
    assert "paper protocol: best test %" in text
    table = pd.read_csv(out / "report.csv")
    assert table["test_minus_plain_mean"][0] == pytest.approx(2)
    assert table["test_minus_multipath_mean"][1] == pytest.approx(-2)
    assert not (compared / "report").exists()


def test_refused_baseline_writes_nothing(compared, capsys):
    assert main([str(compared), "--baseline", "gat"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "baseline (gat) must be one row for cora, acc, found only multipath, plain" in error
    assert not (compared / "report").exists()


def test_synthetic_in_every_output(runs, write_run, capsys):
    write_run("a", data="arxiv", synthetic=True)
    main([str(runs)])
    assert "arxiv (synthetic)" in capsys.readouterr().out
    for name in ("report.csv", "report.md"):
        assert "arxiv (synthetic)" in (runs / "report" / name).read_text(encoding="utf-8")


def test_missing_folder(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error == f"multipath-gcn-report: DIR ({tmp_path / 'nowhere'}) must be an existing folder\n"


def test_no_complete_run(runs, write_run, capsys):
    (write_run("a") / "result.json").unlink()
    assert main([str(runs)]) == 2
    out, error = capsys.readouterr()
    assert str(runs / "a") in out
    assert error.startswith(f"multipath-gcn-report: DIR ({runs}) must hold at least one complete run")
    assert error.count("\n") == 1


def test_out_that_is_a_file(compared, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(compared), "--out", str(tmp_path / "file")]) == 2
    assert f"--out ({tmp_path / 'file'}) must be a writable folder" in capsys.readouterr().err


def test_piped_output_is_whole(runs, write_run):
    model, label, hardware = "m" * 90, "label " * 20 + "end", "cpu " * 30 + "end"
    write_run("a", {"host.hardware": hardware}, model=model, label=label)
    write_run("b")
    (write_run("c" * 100) / "result.json").write_text("{")
    command = [sys.executable, "-m", "multipath_gcn.report", str(runs)]
    environment = os.environ | {"COLUMNS": "40", "TERM": "dumb"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if model in line)
    assert label in row
    assert hardware in row
    assert any("c" * 100 in line and "not valid JSON" in line for line in done.stdout.splitlines())
    assert "…" not in done.stdout
    assert "\x1b" not in done.stdout


def test_output_that_is_not_unicode(runs, write_run):
    write_run("a", seed=0)
    write_run("b", seed=1, test=0.82)
    command = [sys.executable, "-m", "multipath_gcn.report", str(runs)]
    done = subprocess.run(
        command, capture_output=True, encoding="ascii", env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr
    assert "81.00 +/- 1.41" in done.stdout


@pytest.mark.parametrize("width", [30, 60, 80, 120, 200])
def test_no_terminal_cuts_a_number(compared, width):
    table = summarise(read_runs([compared])[0], protocol="both")
    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    show_table(Console(file=screen, width=width, force_terminal=True, color_system=None), table)
    screen.seek(0)
    text = screen.read()
    for cell in ("multipath", "83.00 ± 1.00", "217,479", "0.0300", "82.00 ± 0.00"):
        assert cell in text
    assert "…" not in text


def test_starts_without_torch():
    code = "import sys, multipath_gcn.report.cli; print([m for m in ('torch', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
