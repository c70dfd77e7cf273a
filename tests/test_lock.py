import os
import signal
import subprocess
import sys
import time

import pytest

from multipath_gcn.lock import held, is_held

HOLDER = "import sys, time; from pathlib import Path; from multipath_gcn.lock import held\nwith held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_one_process_at_a_time_until_it_is_killed(tmp_path):
    assert not is_held(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert is_held(tmp_path)
        with (
            pytest.raises(ValueError, match=rf"hydra.run.dir must not be in use, .* is by process {holder.pid} on "),
            held(tmp_path),
        ):
            raise AssertionError
        os.kill(holder.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_held(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    with held(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
