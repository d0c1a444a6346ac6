"""What a process does at a signal is its own affair, whatever libraries do."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.pages import ROOT

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


def test_what_another_thread_takes_comes_back() -> None:
    result = subprocess.run([sys.executable, "-c", TAKEN], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert result.returncode == 0, result.stderr
    assert result.stdout == "ended in good order\n"
