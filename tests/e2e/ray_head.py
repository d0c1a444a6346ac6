"""A Ray cluster in processes of its own, that is there before services and outlives them."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.e2e.service_process import descendants, free_port, kill, wait_until

RAY = str(Path(sys.executable).parent / "ray")
START_SECONDS = 60.0


class RayNode:
    """One node on this machine; can be lost and started again.

    Attributes:
        environment: the settings by which a service joins its cluster.
        directory: of a head, its sockets and logs.
    """

    def __init__(self, options: list[str], environment: dict[str, str], log: Path, directory: Path) -> None:
        self.environment = environment
        self.directory = directory
        self._options = [*options, "--object-store-memory=100000000"]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process whose children are the node's."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the node and wait until it has joined."""
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [RAY, "start", "--block", "--disable-usage-stats", *self._options],
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(lambda: "Ray runtime started" in self._log.read_text(), START_SECONDS, "a node of Ray")
        except AssertionError:
            self.end()
            raise

    def end(self) -> None:
        """At once: asked politely, Ray takes half a minute to leave."""
        processes = descendants(self.pid)
        for pid in [self.pid, *(child.pid for child in processes)]:
            kill(pid)
        assert self._process is not None
        self._process.wait()
        psutil.wait_procs(processes, timeout=10)


@contextmanager
def running_head(log: Path, cpus: int = 2) -> Iterator[RayNode]:
    """Start a cluster of one node, hand it out once it runs, and end it."""
    port = free_port()
    directory = Path(f"/tmp/tw-head-{os.getpid()}")
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    options = ["--head", "--include-dashboard=false", f"--port={port}", f"--num-cpus={cpus}", f"--temp-dir={directory}"]
    head = RayNode(options, {"TUNEWRIGHT_RAY_ADDRESS": f"127.0.0.1:{port}", **token}, log, directory)
    head.start()
    try:
        yield head
    finally:
        head.end()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running_node(head: RayNode, log: Path, cpus: int = 2) -> Iterator[RayNode]:
    """One more node of a cluster."""
    options = [f"--address={head.environment['TUNEWRIGHT_RAY_ADDRESS']}", f"--num-cpus={cpus}"]
    node = RayNode(options, head.environment, log, head.directory)
    node.start()
    try:
        yield node
    finally:
        node.end()
