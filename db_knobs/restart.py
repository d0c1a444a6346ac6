"""Restarting a server: commands that the administrator of the service has named, and nobody else can.

A server is restarted by whoever runs it (systemd, a container's runtime), not by its SQL port. So the service is given
two commands for it: `restart`, and `recover`, which must bring it up again with its former settings when it does not
start with the new ones. `recover` reads these from its standard input, as one JSON object: setting -> text as the
server's own file had it, or null where it did not stand there. For PostgreSQL `python -m db_knobs.auto_conf` writes
them; see there.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from db_knobs.address import server_of
from db_knobs.database import Former
from db_knobs.errors import RestartFailed

# Of what a command says, the end is told.
_TOLD = 500


class RestartCommand(BaseModel):
    """How one server is restarted, on the machine on which its sessions run.

    Attributes:
        server: HOST:PORT of the server that it restarts; sessions on other servers cannot use it.
        restart: program and arguments; no shell reads them. It ends when the server is up, or has failed to start.
        recover: the same, for a server that does not come back.
        seconds: that each may take, and in which the server must answer afterwards.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: str = Field(pattern=r"^.+:\d{1,5}$")
    restart: list[str] = Field(min_length=1)
    recover: list[str] = Field(min_length=1)
    seconds: float = Field(default=120.0, gt=0, le=3600, allow_inf_nan=False)

    def serves(self, host: str, port: int) -> bool:
        """Whether it restarts the server at this address."""
        own, _, own_port = self.server.rpartition(":")
        return server_of(own.strip("[]"), int(own_port)) == server_of(host, port)

    def run_restart(self, environment: Mapping[str, str]) -> None:
        """Restart the server.

        Raises:
            RestartFailed: the command cannot be run, fails, or does not end in time.
        """
        _run(self.restart, b"", self.seconds, environment)

    def run_recover(self, former: Former, environment: Mapping[str, str]) -> None:
        """Bring the server up with former settings.

        Raises:
            RestartFailed: as `run_restart`.
        """
        texts = {name: setting["text"] for name, setting in former.items()}
        _run(self.recover, json.dumps(texts).encode(), self.seconds, environment)


def _run(command: Sequence[str], told: bytes, seconds: float, environment: Mapping[str, str]) -> None:
    # A file, not a pipe: a server that is started inherits it, and never closes it.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                list(command),
                input=told,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                env=dict(environment),
                start_new_session=True,
                check=False,
            )
        except OSError as error:
            raise RestartFailed(f"{command[0]}: {error.strerror or error}") from None
        except subprocess.TimeoutExpired:
            raise RestartFailed(f"{command[0]} did not end within {seconds:g} s") from None
        if done.returncode != 0:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()[-_TOLD:]
            raise RestartFailed(f"{command[0]} ended with {done.returncode}: {said or 'it said nothing'}")
