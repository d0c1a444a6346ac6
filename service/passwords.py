"""Passwords of databases: how they are kept, and how they are had when a database is connected to.

One that was sent is encrypted for its database's row. A variable of the service's environment, or a file in its
directory of secrets, is only referred to and read anew each time, so that it can be changed without telling us.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Row

from db_knobs.address import Password
from service.secrets import SecretError, Secrets
from service.settings import ServiceSettings
from service.store.errors import DatabaseUnusable, WrongField
from tunewright.session_views import PASSWORD_VARIABLES, GivenPassword

MAX_BYTES = 1000


@dataclass(frozen=True)
class Kept:
    """A password as its database's row has it.

    Attributes:
        source: where it comes from.
        text: encrypted, or the name of the variable or file.
    """

    source: Literal["stored", "env", "file", "none"]
    text: str | None = field(default=None, repr=False)


class Passwords:
    """Keeps passwords and reads them."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings

    def of(self, given: GivenPassword, in_dsn: Password) -> Password:
        """A password that is given.

        Raises:
            WrongField: it is referred to, and cannot be read.
        """
        if given.password is not None:
            return Password(given.password.get_secret_value())
        if given.password_env is not None:
            return self._variable(given.password_env)
        if given.password_file is not None:
            return self._file(given.password_file)
        return in_dsn

    def keep(self, given: GivenPassword, password: Password, database: str) -> Kept:
        """How it is kept for a database.

        Raises:
            WrongField: there is no key to encrypt it with.
        """
        if given.password_env is not None:
            return Kept("env", given.password_env)
        if given.password_file is not None:
            return Kept("file", given.password_file)
        if not password.secret:
            return Kept("none")
        try:
            return Kept("stored", Secrets.of(self._settings).encrypt(password.secret, _purpose(database)))
        except SecretError as error:
            raise WrongField("password", f"password: it cannot be kept: {error}") from None

    def open(self, row: Row[Any]) -> Password:
        """The password of an attached database.

        Raises:
            SecretError: it was encrypted with another key.
            DatabaseUnusable: what it refers to cannot be read.
        """
        try:
            if row.password_from == "env":  # nosec B105
                return self._variable(row.password)
            if row.password_from == "file":  # nosec B105
                return self._file(row.password)
        except WrongField as error:
            raise DatabaseUnusable(f'database "{row.name}": {error}') from None
        if row.password_from == "none":  # nosec B105
            return Password("")
        return Password(Secrets.of(self._settings).decrypt(row.password, _purpose(row.id)))

    def _variable(self, name: str) -> Password:
        # Settings of the service's own have the same beginning, and one of them holds the password of its store.
        if not name.startswith(PASSWORD_VARIABLES) or _is_setting(name):
            raise WrongField("password_env", f"password_env: {name} is a setting of the service; take another variable")
        value = os.environ.get(name)
        if not value:
            raise WrongField("password_env", f"password_env: {name} is not set in the service's environment; set it")
        return Password(value)

    def _file(self, name: str) -> Password:
        directory = self._settings.secrets_dir
        if directory is None:
            raise WrongField(
                "password_file", "password_file: the service has no directory of secrets; set TUNEWRIGHT_SECRETS_DIR"
            )
        try:
            path = (directory / name).resolve()
            # Secrets of Kubernetes are links to a directory beside them, so links may go anywhere inside.
            if not path.is_relative_to(directory):
                raise WrongField("password_file", f'password_file: "{name}" leads out of the directory of secrets')
            with path.open("rb") as file:
                text = file.read(MAX_BYTES + 1).decode()
        except OSError as error:
            raise WrongField(
                "password_file",
                f'password_file: "{name}" cannot be read in the directory of secrets ({error.strerror})',
            ) from None
        except UnicodeDecodeError:
            text = ""
        secret = text.rstrip("\r\n")
        if not secret or len(text) > MAX_BYTES or "\0" in secret:
            raise WrongField("password_file", f'password_file: "{name}" holds no password of up to {MAX_BYTES} bytes')
        return Password(secret)


def _is_setting(name: str) -> bool:
    prefix = str(ServiceSettings.model_config["env_prefix"])
    return name.removeprefix(prefix).lower() in ServiceSettings.model_fields


def _purpose(database: str) -> str:
    return f"database {database}"
