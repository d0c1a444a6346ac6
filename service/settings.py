"""The service's settings: environment variables with the prefix TUNEWRIGHT_, or arguments of `tunewright serve`."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from db_knobs.restart import RestartCommand
from service.database_hosts import DatabaseHosts
from service.events import FeedLimits
from service.store.engine import parse_url
from workers.cluster import ClusterSettings
from workers.leg import LegSettings
from workers.logs import Format, Level, LogSettings
from workers.session_settings import SessionSettings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# What listens on this machine alone, and its sockets.
LOCAL_DATABASES = ("localhost", "127.0.0.0/8", "::1", "/")


class ServiceSettings(BaseSettings):
    """Everything that can be set.

    Attributes:
        data_dir: home of the embedded store, checkpoints and Ray's token.
        host, port: where the service listens; port 0 takes a free one.
        database_url: SQLAlchemy URL, of SQLite or PostgreSQL; None keeps SQLite in `data_dir`.
        ray_address: of a running Ray cluster; None starts a local one.
        ray_cpus: processors that a local Ray offers to trials; None means all.
        ray_temp_dir: Ray's sockets and logs; keep it short.
        checkpoint_url: fsspec URL of trials' states; None keeps them in `data_dir`.
        import_paths: directories from which workloads named as `module:attribute` are imported.
        allowed_hosts: host names by which the service may be called, beside loopback's.
        auth: `auto` asks for tokens as soon as there is one, or the service can be reached from elsewhere; `on` always;
            `off` never, for loopback alone.
        tls_certificate, tls_key: PEM files; the service then speaks HTTPS.
        tls_proxies: addresses or networks of proxies that speak HTTPS in front of the service; what they say of their
            clients (X-Forwarded-For, X-Forwarded-Proto) is believed.
        rate_limit, rate_burst: requests a second, and at once, of each token (of each address without tokens).
        audit_days: how long the audit trail is kept.
        secret_key: key for secrets in the store, or several of them, the newest first, with commas between; None keeps
            one in `data_dir`.
        max_body_bytes: larger requests are refused.
        max_import_bytes: larger studies are not imported; an import is kept in `data_dir` until it has been read.
        max_running_studies: further studies wait in the queue.
        max_sessions: tuning sessions that run at once; further ones wait. One that has to put settings back never does.
        restart_commands: commands with which sessions may restart servers, by name: `{"prod": {"server": "HOST:PORT",
            "restart": [...], "recover": [...], "seconds": 120}}`; see Live databases.
        database_hosts: where databases may be attached: names, addresses, networks, and directories of sockets (`/`
            stands for all of them). A name is allowed by its name alone, whatever its address.
        secrets_dir: files in it may be named as passwords of databases; None allows none.
        max_event_clients, max_event_clients_per_address: who may follow `/v1/events` at once, in all and from one
            address.
        log_format: `text` for people, `json` for collectors: one object a line.
        log_level: `debug`, `info`, `warning` or `error`.
    """

    model_config = SettingsConfigDict(env_prefix="TUNEWRIGHT_", extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Field(default_factory=lambda: Path.home() / ".tunewright")
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    database_url: SecretStr | None = None
    ray_address: str | None = None
    ray_cpus: int | None = Field(default=None, ge=1)
    ray_temp_dir: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()) / f"tunewright-{getpass.getuser()}")
    checkpoint_url: str | None = None
    import_paths: list[Path] = Field(default_factory=lambda: [Path.cwd()])
    allowed_hosts: list[str] = Field(default_factory=list)
    auth: Literal["auto", "on", "off"] = "auto"
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_proxies: list[str] = Field(default_factory=list)
    rate_limit: float = Field(default=2_000, gt=0, allow_inf_nan=False)
    rate_burst: int = Field(default=10_000, ge=1)
    audit_days: float = Field(default=90, gt=0, allow_inf_nan=False)
    secret_key: SecretStr | None = None
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    max_import_bytes: int = Field(default=1024**3, ge=1024)
    max_running_studies: int = Field(default=8, ge=1, le=1000)
    max_sessions: int = Field(default=16, ge=1, le=1000)
    restart_commands: dict[str, RestartCommand] = Field(default_factory=dict)
    database_hosts: list[str] = Field(default_factory=lambda: list(LOCAL_DATABASES))
    secrets_dir: Path | None = None
    max_event_clients: int = Field(default=1_000, ge=1)
    max_event_clients_per_address: int = Field(default=100, ge=1)
    log_format: Format = "text"
    log_level: Level = "info"

    @field_validator("log_format", "log_level", mode="before")
    @classmethod
    def _any_case(cls, name: object) -> object:
        return name.lower() if isinstance(name, str) else name

    @field_validator("data_dir", "ray_temp_dir", "secrets_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().resolve()

    @field_validator("import_paths")
    @classmethod
    def _there(cls, paths: list[Path]) -> list[Path]:
        for path in paths:
            if not path.exists():
                raise ValueError(f"{path} does not exist; give the directory that holds your workload's module")
        return paths

    @field_validator("database_hosts")
    @classmethod
    def _known_form(cls, hosts: list[str]) -> list[str]:
        DatabaseHosts(hosts)
        return hosts

    @field_validator("data_dir")
    @classmethod
    def _fits_a_url(cls, path: Path) -> Path:
        if "?" in str(path):
            raise ValueError(f"{path}: a question mark cannot stand in the store's URL; choose another directory")
        return path

    @field_validator("database_url")
    @classmethod
    def _usable(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parse_url(url.get_secret_value())
        return url

    @field_validator("checkpoint_url")
    @classmethod
    def _reachable(cls, url: str | None) -> str | None:
        if not url:
            return None
        import fsspec

        protocol = fsspec.utils.get_protocol(url)
        try:
            fsspec.get_filesystem_class(protocol)
        except (ValueError, ImportError) as error:
            raise ValueError(f"{protocol}: {error}; install what it needs, or give file:///DIRECTORY") from error
        # Legs run in other directories than the service.
        return f"file://{fsspec.core.url_to_fs(url)[1]}" if protocol in ("file", "local") else url

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store; may hold a password, so it is not for logs or messages."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / 'tunewright.db'}"

    @property
    def store_has_password(self) -> bool:
        """Whether the store's URL itself holds a password."""
        url = parse_url(self.store_url)
        return url.password is not None or "password" in url.query

    @property
    def sole_user(self) -> bool:
        """Whether nobody else runs this store's studies: it is in the data directory, and Ray ends with the service."""
        return self.database_url is None and self.ray_address is None

    @property
    def exposed(self) -> bool:
        """Whether requests can come from other machines."""
        return self.host not in LOOPBACK or bool(self.tls_proxies)

    @property
    def tls(self) -> bool:
        """Whether what clients send is encrypted."""
        return self.tls_certificate is not None or bool(self.tls_proxies)

    @property
    def hosts(self) -> list[str]:
        """Every host name under which requests are answered; others could come from a rebound DNS name."""
        return [*LOOPBACK, "[::1]", *self.allowed_hosts]

    def logs(self) -> LogSettings:
        """How the service, its runners and their legs log."""
        return LogSettings(self.log_format, self.log_level)

    def feed(self) -> FeedLimits:
        """How many may follow events."""
        return FeedLimits(self.max_event_clients, self.max_event_clients_per_address)

    def leg(self) -> LegSettings:
        """What every leg is given."""
        url = self.checkpoint_url or f"file://{self.data_dir / 'checkpoints'}"
        return LegSettings(url, tuple(str(path.absolute()) for path in self.import_paths), self.logs())

    def sessions(self) -> SessionSettings:
        """What every tuning session's runner is given."""
        # On a cluster a runner may be on a machine that has no such data directory.
        directory = self.data_dir if self.ray_address is None else self.ray_temp_dir
        return SessionSettings(str(directory / "watchdogs.log"), self.restart_commands, self.logs())

    def cluster(self) -> ClusterSettings:
        """How to get the cluster."""
        return ClusterSettings(
            address=self.ray_address,
            cpus=self.ray_cpus or os.cpu_count(),
            temp_dir=self.ray_temp_dir,
            token_file=self.data_dir / "ray-token",
        )
