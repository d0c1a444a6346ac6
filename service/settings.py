"""The service's settings: environment variables with the prefix TUNEWRIGHT_, or arguments of `tunewright serve`."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.store.engine import parse_url
from workers.cluster import ClusterSettings
from workers.leg import LegSettings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


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
        max_body_bytes: larger requests are refused.
        max_running_studies: further studies wait in the queue.
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
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    max_running_studies: int = Field(default=8, ge=1, le=1000)

    @field_validator("data_dir", "ray_temp_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

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
    def hosts(self) -> list[str]:
        """Every host name under which requests are answered; others could come from a rebound DNS name."""
        return [*LOOPBACK, "[::1]", *self.allowed_hosts]

    def leg(self) -> LegSettings:
        """What every leg is given."""
        url = self.checkpoint_url or f"file://{self.data_dir / 'checkpoints'}"
        return LegSettings(url, tuple(str(path.absolute()) for path in self.import_paths))

    def cluster(self) -> ClusterSettings:
        """How to get the cluster."""
        return ClusterSettings(
            address=self.ray_address,
            cpus=self.ray_cpus or os.cpu_count(),
            temp_dir=self.ray_temp_dir,
            token_file=self.data_dir / "ray-token",
        )
