"""The peers' own virtual environment, and which peers it holds."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-peers"
PYTHON = ENVIRONMENT / "bin" / "python"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
# What is installed, once all of it is.
READY = ENVIRONMENT / "ready"


class PeersMissingError(RuntimeError):
    """The peers' environment cannot be made here; the message says why and how to do without."""


def exists() -> bool:
    """Whether the environment is there with what is required now; it is made whole or not at all."""
    return READY.exists() and READY.read_text() == REQUIREMENTS.read_text()


def installed() -> list[str]:
    """What is installed, each package with its version; nothing where there is no environment."""
    return sorted(found.stem for found in ENVIRONMENT.glob("lib/python*/site-packages/*.dist-info"))


def ensure() -> None:
    """Make the environment if it is missing, and make it whole if something is.

    Raises:
        PeersMissingError: it cannot be installed.
    """
    if exists():
        return
    print(f"installing the peers into {ENVIRONMENT}", file=sys.stderr)
    venv.create(ENVIRONMENT, with_pip=True)
    command = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PeersMissingError(
            f"the peers cannot be installed: {last}. Try it by hand: {' '.join(command)}; "
            f"or run the benchmark without them: --peers none"
        )
    READY.write_text(REQUIREMENTS.read_text())
