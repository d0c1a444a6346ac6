"""Where a database is and who we are there; the password never shows."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

from db_knobs.errors import AddressError

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

Kind = Literal["postgresql", "mysql", "mariadb"]
Tls = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]

PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_SCHEMES: dict[str, Kind] = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mariadb",
}
# As MySQL spells what PostgreSQL calls otherwise.
_TLS_SPELLINGS = {
    "disabled": "disable",
    "preferred": "prefer",
    "required": "require",
    "verify-identity": "verify-full",
}
_ONE_HOST = "name the one whose settings are to be tuned: a session must know which server it changes"
_OPTIONS = {"sslmode", "ssl-mode", "sslrootcert", "ssl-ca"}


@dataclass(frozen=True)
class Password:
    """A secret that formats as stars."""

    secret: str = field(repr=False)

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "Password(***)"


@dataclass(frozen=True)
class Address:
    """One database of one server, and one user.

    Attributes:
        kind: which server is expected; `mysql` and `mariadb` speak one protocol, the server tells which it is.
        database: its statistics are read; on MySQL and MariaDB the whole server's where it is empty.
        tls: as PostgreSQL names its modes.
        ca: file with the certificates that are trusted; the system's where it is None.
    """

    kind: Kind
    host: str
    port: int
    user: str
    password: Password = Password("")
    database: str = ""
    tls: Tls = "prefer"
    ca: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in PORTS:
            raise AddressError(f"address.kind: {self.kind!r} is none of {', '.join(PORTS)}")
        if not self.host:
            raise AddressError(
                "address.host: is empty; give a host name, an address, a socket's directory (PostgreSQL) or its path"
            )
        if "," in self.host:
            raise AddressError(f"address.host: {self.host!r} names several hosts; {_ONE_HOST}")
        if not 0 < self.port < 65536:
            raise AddressError(f"address.port: {self.port} is no port; give 1 to 65535")
        if not self.user:
            raise AddressError("address.user: is empty; name the role that may read statistics and set knobs")
        if self.tls not in TLS_MODES:
            raise AddressError(f"address.tls: {self.tls!r} is none of {', '.join(TLS_MODES)}")
        if self.tls == "verify-ca" and not self.ca and self.kind == "postgresql":
            raise AddressError("address.ca: is empty; name the file with the certificates that verify-ca may trust")
        if self.kind == "postgresql" and not self.database:
            raise AddressError("address.database: is empty; PostgreSQL keeps statistics for each database")

    @property
    def local(self) -> bool:
        """Whether the server runs on this machine."""
        if self.host == "localhost" or self.host.startswith("/"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.kind}://{self.user}@{self.host}:{self.port}/{self.database}"


def parse_dsn(dsn: str) -> Address:
    """An address from a URL: `postgresql://user:password@host:5432/database?sslmode=verify-full`.

    Raises:
        AddressError: names the part that is wrong; never shows the password.
    """
    # What these raise would show the whole text.
    try:
        parts = urlsplit(dsn)
        several = "," in parts.netloc.rpartition("@")[2]
        port = None if several else parts.port
    except ValueError:
        raise AddressError("dsn: it is no URL; write postgresql://user:password@host:port/database") from None
    if parts.scheme not in _SCHEMES:
        raise AddressError(f"dsn: the scheme must be one of {', '.join(_SCHEMES)}")
    if several:
        raise AddressError(f"dsn: it names several hosts; {_ONE_HOST}")
    if parts.fragment:
        raise AddressError("dsn: what follows a # would be left out; write # as %23")
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    unknown = next((name for name in options if name not in _OPTIONS), None)
    if unknown is not None:
        raise AddressError(f'dsn: option "{unknown}" is not known; known are {", ".join(sorted(_OPTIONS))}')
    kind = _SCHEMES[parts.scheme]
    tls = (options.get("sslmode") or options.get("ssl-mode") or "prefer").lower().replace("_", "-")
    return Address(
        kind=kind,
        host=unquote(parts.hostname or ""),
        port=PORTS[kind] if port is None else port,
        user=unquote(parts.username or ""),
        password=Password(unquote(parts.password or "")),
        database=unquote(parts.path.removeprefix("/")),
        tls=_TLS_SPELLINGS.get(tls, tls),  # type: ignore[arg-type]  # checked by Address
        ca=options.get("sslrootcert") or options.get("ssl-ca"),
    )


def server_of(host: str, port: int) -> str:
    """Where a server is, in one spelling: however this machine is named, a port of it is the same server."""
    address = ip_of(host)
    local = host.startswith("/") or host.lower().rstrip(".") == "localhost" or (address and address.is_loopback)
    if local:
        return f"local:{port}"
    return f"{address or host.lower().rstrip('.')}:{port}"


def ip_of(host: str) -> IPAddress | None:
    """The address that a host is given by; None for a name or a directory of sockets."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
