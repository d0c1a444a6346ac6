"""Where databases may be attached: a service that can be asked to connect must not be a way into its network.

An entry is an address, a network (`10.0.0.0/8`), a name, `*.example.com` for every name below it, or a directory of
sockets (`/run/postgresql`; `/` for all). A name is allowed by its name alone and never looked up: what it points to may
be something else a moment later.
"""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Sequence

from db_knobs.address import ip_of
from service.store.errors import WrongField

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class DatabaseHosts:
    """The hosts that are allowed.

    Raises:
        ValueError: an entry has none of the forms above.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._networks: list[_Network] = []
        self._names: list[str] = []
        self._directories: list[str] = []
        for entry in entries:
            self._add(entry.strip().lower() if not entry.startswith("/") else entry)

    def check(self, host: str) -> None:
        """Refuse a host that is not allowed; nobody is asked where it is.

        Raises:
            WrongField: it is not, or is no single host.
        """
        # PostgreSQL's library reads several hosts from one text, and a socket's name from what begins with @.
        if "," in host or host.startswith("@") or not host.isprintable() or any(c.isspace() for c in host):
            raise WrongField("host", f"host: {host[:100]!r} is no single host; give one name, address or directory")
        if not self._allows(host):
            raise WrongField(
                "host",
                f'host: "{host[:100]}" is not among the hosts where databases may be attached; add it to '
                "TUNEWRIGHT_DATABASE_HOSTS of the service, a JSON list of names, addresses and networks",
            )

    def _add(self, entry: str) -> None:
        if not entry or "," in entry or not entry.isprintable():
            raise ValueError(f"{entry!r} is neither a name, an address, a network nor a directory")
        if entry.startswith("/") and (entry == "/" or not entry.startswith("//")):
            self._directories.append(posixpath.normpath(entry))
            return
        try:
            self._networks.append(ipaddress.ip_network(entry.strip("[]")))
        except ValueError as error:
            if "/" in entry:
                raise ValueError(f'"{entry}" is no network: {error}; write for example 10.0.0.0/8') from None
            self._names.append(entry.rstrip("."))

    def _allows(self, host: str) -> bool:
        if host.startswith("/"):
            path = posixpath.normpath(host)
            return any(known in ("/", path) or path.startswith(f"{known}/") for known in self._directories)
        address = ip_of(host)
        if address is not None:
            return any(address.version == network.version and address in network for network in self._networks)
        name = host.lower().rstrip(".")
        return any(
            known in ("*", name) or (known.startswith("*.") and name.endswith(known[1:])) for known in self._names
        )
