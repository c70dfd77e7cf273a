"""Times of several libraries in turns, each library in a process of its own.

Why processes: after a call the idle threads of OpenMP (PyTorch and ours, ncnn) spin for 5 to 15 ms and those of ONNX
Runtime for 40 ms. On a machine whose cores all take part, they eat into the time of whichever library comes next, and
to forbid spinning would slow down those that rely on it. In a process of its own a library's spinning is seen (CPU time
goes by) and waited for: a sample follows when all others are asleep and after calls that wake and warm its own threads.
All libraries take their samples in the same rounds (`timing.interleaved`), so that drift and neighbours hit all alike.

Threads are bound to cores, each library in its own way, for two that wake up on one core may stay there for a tenth of
a second and more, each waiting for the other in slices of 4 ms.

`python turns.py` is such a process: it reads pickled requests from standard input and answers on standard output.
"""

import importlib.metadata
import importlib.util
import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from multipath_epoch import PAGES

BOUND = {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}
WARM, SAMPLE, LONG = 3e-2, 5e-3, 2e-2  # seconds; a call as long as LONG needs no warming up
QUIET, PATIENCE = 2e-3, 0.25
Run = Callable[[], object]


def restart() -> None:
    """Runs the script again with huge pages, kept memory and bound OpenMP threads, all read when PyTorch is loaded."""
    if sys.platform == "linux" and "BENCHMARK_CPUS" not in os.environ:
        cpus = {"BENCHMARK_CPUS": ",".join(map(str, sorted(os.sched_getaffinity(0))))}
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | PAGES | BOUND | cpus)


def cpus() -> list[int]:
    """Those that the script may use, from before OpenMP bound its first thread to one; none where nothing is bound."""
    return [int(cpu) for cpu in os.environ.get("BENCHMARK_CPUS", "").split(",") if cpu]


def block(run: Run, calls: int) -> float:
    """Seconds per call, the mean over at least so many calls and SAMPLE seconds; untimed calls first, quiet after."""
    start = begin = time.perf_counter()
    taken = 0.0
    while begin - start < WARM and taken < LONG:
        run()
        end = time.perf_counter()
        taken, begin = end - begin, end
    if taken < LONG:
        done, now = 0, begin
        while done < calls or now - begin < SAMPLE:
            run()
            done, now = done + 1, time.perf_counter()
        taken = (now - begin) / done
    settle()
    return taken


def settle() -> None:
    """Waits until no thread of this process computes or spins, but not for ever."""
    used, deadline = time.process_time(), time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline:
        time.sleep(QUIET)
        before, used = used, time.process_time()
        if used - before < QUIET / 5:
            return


@dataclass(frozen=True)
class Here:
    """A callable of this process."""

    run: Run

    def __call__(self) -> object:
        return self.run()

    def block(self, calls: int) -> float:
        return block(self.run, calls)


@dataclass(frozen=True)
class There:
    """A callable that a library's process holds."""

    library: "Library"
    key: str

    def __call__(self) -> None:
        self.library.ask("call", self.key)

    def block(self, calls: int) -> float:
        settle()
        return self.library.ask("block", self.key, calls)


def clock():
    """A `timing.Clock` of `Here` and `There`."""
    import timing  # with PyTorch, which the other libraries' processes never load
    import torch

    class Turns(timing.Clock):
        def seconds(self, call: Here | There, calls: int = 1) -> float:
            return call.block(calls)

    return Turns(torch.device("cpu"))


class LibraryError(RuntimeError):
    """What went wrong in a library's process: the last line of it, then all of it."""


@dataclass
class Library:
    """A process in which one library computes, on so many threads."""

    threads: int
    _process: subprocess.Popen = field(init=False)

    def __post_init__(self):
        environment = os.environ | {"TVM_NUM_THREADS": str(self.threads), "OMP_NUM_THREADS": str(self.threads)}
        command = [sys.executable, str(Path(__file__).resolve())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def ask(self, *request):
        try:
            pickle.dump(request, self._process.stdin, protocol=5)
            self._process.stdin.flush()
            error, answer = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError):
            raise LibraryError(f"the library's process ended with status {self._process.wait()}") from None
        if error:
            raise LibraryError(f"{error.strip().splitlines()[-1]}\n{error}")
        return answer

    def make(self, key: str, maker: Callable[..., Run], values: Callable, *arguments) -> tuple[There, object]:
        """Keeps `maker(*arguments, threads)`, a callable, under the key; also gives `values` of what a call returns.

        Both are functions of modules of this folder; the libraries are imported in the process only.
        """
        return There(self, key), self.ask("make", key, maker, values, *arguments, self.threads)

    def clear(self) -> None:
        self.ask("clear")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Libraries:
    """Processes by name and number of threads, started when first asked for.

    Args:
        modules: what each name needs to import.
    """

    def __init__(self, modules: dict[str, tuple[str, ...]]):
        self._modules = modules
        self.absent = {
            name: missing
            for name, needed in modules.items()
            if (missing := [module for module in needed if importlib.util.find_spec(module) is None])
        }
        self.names = [name for name in modules if name not in self.absent]
        self._running: dict[tuple[str, int], Library] = {}

    def describe(self) -> dict[str, object]:
        """Versions of what is there, and what is absent."""
        versions = {}
        for module in dict.fromkeys(self._modules[name][0] for name in self.names):
            distribution = importlib.metadata.packages_distributions()[module][0]
            versions[module] = importlib.metadata.version(distribution)
        return versions | {"absent": {name: f"no module {', '.join(no)}" for name, no in self.absent.items()} or "none"}

    def get(self, name: str, threads: int) -> Library:
        key = (name, threads)
        if key not in self._running:
            self._running[key] = Library(threads)
        return self._running[key]

    def drop(self, name: str, threads: int) -> None:
        """After an error: the next call starts a fresh process."""
        self._running.pop((name, threads)).close()

    def clear(self) -> None:
        for library in self._running.values():
            library.clear()

    def close(self) -> None:
        while self._running:
            self._running.popitem()[1].close()

    def __enter__(self) -> "Libraries":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _serve() -> None:
    if cpus():
        os.sched_setaffinity(0, cpus())  # not the one core of the thread that started this process
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    held: dict[str, Run] = {}

    def make(key, maker, values, *arguments):
        held[key] = maker(*arguments)
        result = values(held[key]())
        settle()
        return result

    actions = {
        "make": make,
        "call": lambda key: (held[key](), None)[1],
        "block": lambda key, calls: block(held[key], calls),
        "clear": held.clear,
    }
    while True:
        try:
            name, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = (None, actions[name](*arguments))
        except Exception:
            answer = (traceback.format_exc(), None)
        pickle.dump(answer, answers, protocol=5)
        answers.flush()


if __name__ == "__main__":
    _serve()
