"""What a process does at a signal is its own affair, whatever libraries do."""

from __future__ import annotations

import subprocess
import sys
from tempfile import TemporaryDirectory

import pytest

from tests.docs.pages import ROOT

# Like a service that takes longer to end than Ray's own handler would allow, before and after Ray was lost.
SERVICE = """
import os, signal, sys, threading, time
from pathlib import Path
from workers.cluster import Cluster, ClusterSettings

heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(True))
cluster = Cluster(ClusterSettings(None, 1, Path(sys.argv[1]), Path(sys.argv[1]) / "token"))
for expected, seconds in ((1, 4), (2, 1)):
    thread = threading.Thread(target=cluster.connect)
    thread.start()
    thread.join()
    os.kill(os.getpid(), signal.SIGTERM)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.1)
    assert len(heard) == expected
    cluster.disconnect()
print("ended in good order")
"""

TAKEN = """
import ctypes, os, signal, threading
from workers import signals

heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(True))

def take():
    with signals.kept(signal.SIGTERM):
        ctypes.CDLL(None).signal(signal.SIGTERM, None)

thread = threading.Thread(target=take)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGTERM)
print("ended in good order" if heard else "not heard")
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_what_another_thread_takes_comes_back() -> None:
    result = run(TAKEN)

    assert result.returncode == 0, result.stderr
    assert result.stdout == "ended in good order\n"


@pytest.mark.slow
def test_a_process_with_ray_ends_when_it_wants_to() -> None:
    # A short path: Ray keeps its sockets there.
    with TemporaryDirectory(prefix="tw-signals-", dir="/tmp", ignore_cleanup_errors=True) as root:
        result = run(SERVICE, root)

    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("ended in good order\n")
