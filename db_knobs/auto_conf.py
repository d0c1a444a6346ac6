"""Put former settings back into the postgresql.auto.conf of a server that is down.

    python -m db_knobs.auto_conf DATA_DIRECTORY < settings.json

A server that does not start with what ALTER SYSTEM wrote takes no ALTER SYSTEM RESET either. This does what that would
have done: settings.json maps each setting to its text, or to null, which removes it. All other lines stay as they are.
The file is replaced as a whole, with its owner and mode. It refuses where the server is running.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

FILE = "postgresql.auto.conf"
_NAME = re.compile(r"^\s*([A-Za-z_][\w.]*)\s*(?:=|\s)")


def rewritten(lines: Sequence[str], settings: Mapping[str, str | None]) -> list[str]:
    """Lines of the file with settings as they should be; names are the server's, whose case does not matter."""
    wanted = {name.lower(): text for name, text in settings.items()}
    kept = [line for line in lines if not ((found := _NAME.match(line)) and found[1].lower() in wanted)]
    if kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    return [*kept, *(f"{name} = '{_quoted(text)}'\n" for name, text in wanted.items() if text is not None)]


def rewrite(directory: Path, settings: Mapping[str, str | None]) -> None:
    """Rewrite the file of a server that is down.

    Raises:
        OSError: there is no such file, it cannot be replaced, or the server runs.
        ValueError: a name or a text cannot stand in such a file.
    """
    for name, text in settings.items():
        if not re.fullmatch(r"[A-Za-z_][\w.]*", name) or not (text is None or isinstance(text, str)):
            raise ValueError(f"{name!r}: give each setting's name its text, or null")
        if text is not None and ("\n" in text or "\0" in text):
            raise ValueError(f"{name}: a text must be one line")
    if _running(directory):
        raise OSError(f"{directory}: the server is running; use ALTER SYSTEM")
    path = directory / FILE
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        lines = rewritten(file.readlines(), settings)
    former = path.stat()
    handle, name = tempfile.mkstemp(prefix=f"{FILE}.", dir=directory)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        if os.geteuid() == 0:
            os.chown(name, former.st_uid, former.st_gid)
        shutil.copymode(path, name)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) != 1:
        sys.exit("usage: python -m db_knobs.auto_conf DATA_DIRECTORY < settings.json")
    try:
        settings = json.load(sys.stdin)
        if not isinstance(settings, dict):
            raise ValueError("standard input must hold one JSON object: setting -> text, or null")
        rewrite(Path(arguments[0]), settings)
    except (OSError, ValueError) as error:
        sys.exit(f"auto_conf: {error}")


def _running(directory: Path) -> bool:
    """Whether the process that the server's own lock file names is there."""
    try:
        pid = int((directory / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        return False
    except PermissionError:
        pass
    return True


def _quoted(text: str) -> str:
    """As it stands between quotes, where a backslash says something of what follows it."""
    return text.replace("\\", "\\\\").replace("'", "''")


if __name__ == "__main__":
    main()
