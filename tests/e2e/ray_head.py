"""A Ray cluster in processes of its own, that is there before services and outlives them."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
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

    Args:
        words: before the command, to run it somewhere else.
    """

    def __init__(
        self, options: list[str], environment: dict[str, str], log: Path, directory: Path, words: Sequence[str] = ()
    ) -> None:
        self.environment = environment
        self.directory = directory
        self._command = [*words, RAY, "start", "--block", "--disable-usage-stats", *options]
        self._command.append("--object-store-memory=100000000")
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
                self._command,
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
def running_head(
    log: Path, cpus: int = 2, address: str = "127.0.0.1", environment: Mapping[str, str] | None = None
) -> Iterator[RayNode]:
    """Start a cluster of one node, hand it out once it runs, and end it.

    Args:
        address: at which other hosts reach it.
        environment: more settings for its nodes.
    """
    port = free_port()
    directory = Path(f"/tmp/tw-head-{os.getpid()}")
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    options = ["--head", "--include-dashboard=false", f"--port={port}", f"--num-cpus={cpus}", f"--temp-dir={directory}"]
    if address != "127.0.0.1":
        options.append(f"--node-ip-address={address}")
    joining = {"TUNEWRIGHT_RAY_ADDRESS": f"{address}:{port}", **token, **(environment or {})}
    head = RayNode(options, joining, log, directory)
    head.start()
    try:
        yield head
    finally:
        head.end()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running_node(
    head: RayNode, log: Path, cpus: int = 2, address: str | None = None, words: Sequence[str] = ()
) -> Iterator[RayNode]:
    """One more node of a cluster; on another host where `words` begin a command there, at the host's address."""
    options = [f"--address={head.environment['TUNEWRIGHT_RAY_ADDRESS']}", f"--num-cpus={cpus}"]
    if address is not None:
        options.append(f"--node-ip-address={address}")
    node = RayNode(options, head.environment, log, head.directory, words)
    node.start()
    try:
        yield node
    finally:
        node.end()
