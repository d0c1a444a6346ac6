"""Secrets in the store, such as passwords of databases: encrypted, with a key that is kept elsewhere.

The key comes from TUNEWRIGHT_SECRET_KEY, or else from a file in the data directory that nobody else may read, made when
it is first needed. Services that share a store need the same key. Several keys, the newest first, let one be replaced:
the newest encrypts, all of them decrypt, and once all passwords were given anew (`tunewright password`) others can go.

A secret is encrypted for a purpose, such as the row in which it stands, and is of use for no other.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.settings import ServiceSettings
from tunewright.errors import TunewrightError

KEY_FILE = "secret-key"
OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_MAKE_ONE = 'make one with: python -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'


class SecretError(TunewrightError):
    """A key cannot be used, or a secret cannot be decrypted; the message never holds either."""


class Secrets:
    """Encrypts and decrypts texts.

    Args:
        keys: 32 bytes in URL-safe base64 each, the newest first.
    Raises:
        SecretError: there is no key, or one is none.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise SecretError(f"secret_key: there is none; {_MAKE_ONE}")
        try:
            self._box = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise SecretError(f"secret_key: it must be 32 bytes in URL-safe base64; {_MAKE_ONE}") from None

    @classmethod
    def of(cls, settings: ServiceSettings) -> Secrets:
        """With the keys of the environment, or of the data directory.

        Raises:
            SecretError: they cannot be used, or others can read the file.
        """
        if settings.secret_key is not None:
            return cls(_split(settings.secret_key.get_secret_value()))
        return cls(_split(_read_or_make(settings.data_dir / KEY_FILE)))

    def encrypt(self, secret: str, purpose: str) -> str:
        """A secret as it may be stored.

        Args:
            purpose: what it is for; needed again to decrypt it. Without NUL.
        """
        return self._box.encrypt(f"{purpose}\0{secret}".encode()).decode()

    def decrypt(self, stored: str, purpose: str) -> str:
        """A secret that was encrypted for this purpose.

        Raises:
            SecretError: none of the keys fits, or what is stored was changed or is for another purpose.
        """
        try:
            found, _, secret = self._box.decrypt(stored.encode()).decode().partition("\0")
        except InvalidToken:
            raise _cannot(purpose, "none of the keys fits, or it was changed") from None
        if found != purpose:
            raise _cannot(purpose, "it was stored for something else")
        return secret


def _split(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _cannot(purpose: str, why: str) -> SecretError:
    return SecretError(
        f"the stored secret of {purpose} cannot be decrypted: {why}; give the key with which it was stored "
        f"(TUNEWRIGHT_SECRET_KEY, or {KEY_FILE} in the data directory), or store the secret again"
    )


def _read_or_make(path: Path) -> str:
    if not path.exists():
        _make(path)
    return _read(path)


def _make(path: Path) -> None:
    """Keep a new key, whole or not at all, unless somebody else is quicker."""
    try:
        # Such a file is made with mode 600.
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-") as file:
            file.write(Fernet.generate_key().decode() + "\n")
            file.flush()
            # Before anything is encrypted with it.
            os.fsync(file.fileno())
            try:
                os.link(file.name, path)
            except FileExistsError:
                pass
    except OSError as error:
        raise SecretError(f"{path}: a key cannot be kept there ({error.strerror}); set TUNEWRIGHT_SECRET_KEY") from None


def _read(path: Path) -> str:
    try:
        with path.open() as file:
            found = os.fstat(file.fileno())
            if found.st_mode & OPEN_TO_OTHERS:
                mode = stat.S_IMODE(found.st_mode)
                raise SecretError(f"{path}: others may use it (mode {mode:03o}); chmod 600 it, and consider a new key")
            return file.read()
    except OSError as error:
        raise SecretError(f"{path}: cannot be read ({error.strerror})") from None
