"""Runs on disk to tables and plots. This package knows the files a run leaves behind, and no code that writes them."""

from .compare import add_differences, paired_difference
from .run_plot import plot_run
from .runs import Problem, Run, read_runs
from .table import summarise

__all__ = ["Problem", "Run", "add_differences", "paired_difference", "plot_run", "read_runs", "summarise"]
