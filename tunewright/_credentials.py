"""The token that a client sends: given in code, or from the environment, or from a file that only its owner reads.

It is never an argument of a command: everybody on a machine can read those in the list of processes.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tunewright.errors import SpecError

VARIABLE = "TUNEWRIGHT_TOKEN"
FILE_VARIABLE = "TUNEWRIGHT_TOKEN_FILE"
_OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def headers(token: str | None = None, file: Path | None = None) -> dict[str, str]:
    """The headers that say who asks; none where there is no token.

    The first of these that there is: `token`, `file`, TUNEWRIGHT_TOKEN, the file that TUNEWRIGHT_TOKEN_FILE names,
    ~/.config/tunewright/token.

    Raises:
        SpecError: a file cannot be read, or can be read by others, or what it holds is no token.
    """
    found = _find(token, file)
    if found is None:
        return {}
    if not found.isascii() or not found.isprintable() or not found or " " in found:
        raise SpecError("token: it holds blanks or characters that no token has; give it as it was shown")
    return {"Authorization": f"Bearer {found}"}


def default_file() -> Path:
    """Where a user's own token is kept."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "tunewright" / "token"


def _find(token: str | None, file: Path | None) -> str | None:
    if token is not None:
        return token
    if file is not None:
        return _read(file)
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE].strip()
    if os.environ.get(FILE_VARIABLE):
        return _read(Path(os.environ[FILE_VARIABLE]))
    return _read(default_file()) if default_file().is_file() else None


def _read(path: Path) -> str:
    try:
        with path.expanduser().open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & _OPEN_TO_OTHERS:
                raise SpecError(
                    f"token file {path}: others can read it (mode {stat.S_IMODE(mode):03o}); chmod 600 it, "
                    "and revoke the token if they may have"
                )
            return file.read().strip()
    except OSError as error:
        raise SpecError(f"token file {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SpecError(f"token file {path}: is no text in UTF-8") from None
