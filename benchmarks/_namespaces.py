"""Hosts as network namespaces on one bridge, their links shaped by `tc tbf` (Linux, root)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

LINK = "eth0"


@contextmanager
def hosts(count: int, rate: str) -> Iterator[list[list[str]] | None]:
    """Namespaces with a shaped link each; gone when the block ends.

    Args:
        rate: of each link and direction, as `tc` writes it: "200mbit".
    Yields:
        For each host the words that run a command in it; None where namespaces are not allowed here.
    """
    # The process id keeps two runs at once apart; names of links have 15 characters at most.
    tag, network = f"tw{os.getpid() % 100_000}", f"10.{77 + os.getpid() % 100}.{os.getpid() // 100 % 200}"
    switch = f"{tag}sw"
    names = [f"{tag}h{host}" for host in range(count)]
    try:
        allowed = _set_up(names, switch, network, rate)
        yield [["ip", "netns", "exec", name] for name in names] if allowed else None
    finally:
        for name in (*names, switch):
            _try("ip", "netns", "del", name)


def _set_up(names: Sequence[str], switch: str, network: str, rate: str) -> bool:
    if not (shutil.which("ip") and shutil.which("tc")) or not _try("ip", "netns", "add", switch):
        return False
    done = _try("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
    done = done and _try("ip", "-n", switch, "link", "set", "br0", "up")
    return done and all(_host(name, switch, port, f"{network}.{port + 1}/24", rate) for port, name in enumerate(names))


def _host(name: str, switch: str, port: int, address: str, rate: str) -> bool:
    far = f"p{port}"
    shape = ("root", "tbf", "rate", rate, "burst", "64kb", "latency", "400ms")
    inside, outside = ("ip", "-n", name), ("ip", "-n", switch)
    return all(
        _try(*command)
        for command in (
            ("ip", "netns", "add", name),
            (*outside, "link", "add", far, "type", "veth", "peer", "name", LINK, "netns", name),
            (*outside, "link", "set", far, "master", "br0", "up"),
            (*inside, "addr", "add", address, "dev", LINK),
            (*inside, "link", "set", LINK, "up"),
            (*inside, "link", "set", "lo", "up"),
            ("tc", "-n", name, "qdisc", "add", "dev", LINK, *shape),
            ("tc", "-n", switch, "qdisc", "add", "dev", far, *shape),
        )
    )


def _try(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
