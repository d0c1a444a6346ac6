"""Hosts as network namespaces on one bridge, their links shaped by `tc tbf` (Linux, root)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

LINK = "eth0"


@dataclass(frozen=True)
class Host:
    """One namespace.

    Attributes:
        address: its own, on the bridge.
        words: those that run a command in it.
    """

    name: str
    address: str
    words: Sequence[str]
    _switch: str
    _port: str

    def unplug(self) -> None:
        """Cut it off, as when its cable is pulled: nothing is told to either side."""
        self._set("down")

    def plug(self) -> None:
        """Connect it again."""
        self._set("up")

    def _set(self, state: str) -> None:
        subprocess.run(["ip", "-n", self._switch, "link", "set", self._port, state], check=True)


@contextmanager
def hosts(count: int, rate: str | None = None, *, uplink: bool = False) -> Iterator[list[Host] | None]:
    """Namespaces with a link each; gone when the block ends.

    Args:
        rate: of each link and direction, as `tc` writes it: "200mbit"; None leaves them unshaped.
        uplink: this namespace gets a port of the bridge as well; it is reached at `uplink_address`.
    Yields:
        The hosts; None where namespaces are not allowed here.
    """
    # The process id keeps two runs at once apart; names of links have 15 characters at most.
    tag, network = f"tw{os.getpid() % 100_000}", _network()
    switch = f"{tag}sw"
    found = [
        Host(name, f"{network}.{port + 1}", ["ip", "netns", "exec", name], switch, f"p{port}")
        for port, name in enumerate(f"{tag}h{host}" for host in range(count))
    ]
    try:
        allowed = _switch(switch) and all(_host(host, switch, rate) for host in found)
        allowed = allowed and (not uplink or _uplink(f"{tag}up", switch))
        yield found if allowed else None
    finally:
        # The links go with their namespaces, the uplink with the bridge's.
        for name in (*(host.name for host in found), switch):
            _try("ip", "netns", "del", name)


def uplink_address() -> str:
    """Where the hosts of this process reach the namespace that it runs in."""
    return f"{_network()}.254"


def _network() -> str:
    return f"10.{77 + os.getpid() % 100}.{os.getpid() // 100 % 200}"


def _switch(switch: str) -> bool:
    if not (shutil.which("ip") and shutil.which("tc")) or not _try("ip", "netns", "add", switch):
        return False
    return _try("ip", "-n", switch, "link", "add", "br0", "type", "bridge") and _try(
        "ip", "-n", switch, "link", "set", "br0", "up"
    )


def _uplink(link: str, switch: str) -> bool:
    return all(
        _try("ip", *words)
        for words in (
            ("-n", switch, "link", "add", "uplink", "type", "veth", "peer", "name", link, "netns", str(os.getpid())),
            ("-n", switch, "link", "set", "uplink", "master", "br0", "up"),
            ("addr", "add", f"{uplink_address()}/24", "dev", link),
            ("link", "set", link, "up"),
        )
    )


def _host(host: Host, switch: str, rate: str | None) -> bool:
    far = host._port
    inside, outside = ("ip", "-n", host.name), ("ip", "-n", switch)
    shape = ("root", "tbf", "rate", str(rate), "burst", "64kb", "latency", "400ms")
    shaped = [
        ("tc", "-n", host.name, "qdisc", "add", "dev", LINK, *shape),
        ("tc", "-n", switch, "qdisc", "add", "dev", far, *shape),
    ]
    return all(
        _try(*command)
        for command in (
            ("ip", "netns", "add", host.name),
            (*outside, "link", "add", far, "type", "veth", "peer", "name", LINK, "netns", host.name),
            (*outside, "link", "set", far, "master", "br0", "up"),
            (*inside, "addr", "add", f"{host.address}/24", "dev", LINK),
            (*inside, "link", "set", LINK, "up"),
            (*inside, "link", "set", "lo", "up"),
            *([] if rate is None else shaped),
        )
    )


def _try(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
