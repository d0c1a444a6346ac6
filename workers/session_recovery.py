"""A server that does not come back from a restart of ours: the recover command, by this runner or by its successor."""

from __future__ import annotations

from db_knobs.database import Former
from db_knobs.errors import RestartFailed
from db_knobs.restart import RestartCommand
from workers.session_hold import Hold
from workers.session_ledger import Ledger
from workers.watchdog import environment

RECOVERED = "the recover command brought the server back with its settings from before"
NOT_RECOVERED = "the server is not back after its recover command; start it by hand"


def recover(command: RestartCommand, filed: Former, ledger: Ledger) -> None:
    """Run the recover command with what is to be filed.

    Raises:
        RestartFailed: see there; whether the server is back is for the caller to see.
    """
    # Written before: who follows a runner that died over it does not run it again.
    ledger.recovering()
    command.run_recover(filed, environment())


def bring_up(command: RestartCommand, former: Former, hold: Hold, ledger: Ledger) -> None:
    """Do what an earlier runner would have done that died over a restart: recover a server that does not come back.

    Nothing is done where no restart of ours may have left it down, where it answers, or where the command was run.
    """
    if not ledger.unrecovered or hold.answers(command.seconds):
        return
    if not ledger.broken:
        ledger.restart_failed(f"its runner died, and the server did not answer within {command.seconds:g} s")
    try:
        recover(command, former, ledger)
        told = RECOVERED if hold.answers(command.seconds) else NOT_RECOVERED
    except RestartFailed as error:
        told = f"the recover command failed: {error}; start the server by hand"
    ledger.notice("restart", told)
    ledger.commit()
