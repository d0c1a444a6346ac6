"""How fast a processor is from one moment to the next, which others on the same host decide as well.

    python -m benchmarks._processor_speed CPU    answers each line of its input with "WORK SECONDS", since the start

A process of its own works a little on that processor, 50 times a second, and counts the processor time that it takes.
Where a virtual machine shares its cores with strangers, equal work was seen to take from 1 to 1.8 times as long from
one second to the next, without a word of it in /proc/stat.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_PAUSE = 0.02
# Takes a third of a millisecond or so.
_STEPS = 20_000


@dataclass(frozen=True)
class Reading:
    """Pieces of work, and the processor seconds that they took, since the start."""

    work: int
    seconds: float

    def since(self, earlier: Reading) -> float | None:
        """Pieces a processor second; None where there was none yet."""
        taken = self.seconds - earlier.seconds
        return (self.work - earlier.work) / taken if taken > 0 else None


class ProcessorSpeed:
    """The process, from `__enter__` to `__exit__`.

    Args:
        cpu: the processor's number, as for `os.sched_setaffinity`.
    """

    def __init__(self, cpu: int) -> None:
        self._cpu = cpu

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._cpu)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # It has ended already.
        self._process.wait()
        self._process.stdout.close()

    def read(self) -> Reading:
        """How much has been done by now.

        Raises:
            RuntimeError: the process has ended, as where the processor is not one that may be used.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"processor {self._cpu}: its speed cannot be told; the error stands above")
        work, seconds = line.split()
        return Reading(int(work), float(seconds))


class _Worker(threading.Thread):
    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.reading = Reading(0, 0.0)

    def run(self) -> None:
        while True:
            began = time.thread_time()
            for _ in range(_STEPS):
                pass
            self.reading = Reading(self.reading.work + 1, self.reading.seconds + time.thread_time() - began)
            time.sleep(_PAUSE)


def main() -> None:
    """Work until the input ends."""
    os.sched_setaffinity(0, [int(sys.argv[1])])
    worker = _Worker()
    worker.start()
    for _ in sys.stdin:
        print(worker.reading.work, worker.reading.seconds, flush=True)


if __name__ == "__main__":
    main()
