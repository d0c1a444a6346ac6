"""What a session asks for, against what its database is: refused before anything begins, with field and remedy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from db_knobs.database import Database, Probe
from db_knobs.errors import KnobError
from db_knobs.knob import Knob
from db_knobs.restart import RestartCommand
from service.store.errors import WrongField
from tunewright.errors import SpecError
from tunewright.session import SessionSpec
from workers.session_knobs import allowed_by, choose

# Measure -> the capability without which no server tells it.
_NEEDS = {"latency_mean": "latency", "latency_p95": "percentiles", "latency_p99": "percentiles"}


def check(spec: SessionSpec, database: Database) -> None:
    """Check a session against its connected database.

    Raises:
        WrongField: it cannot be tuned like this.
        DatabaseError: the database cannot be asked.
    """
    for name in spec.accepted:
        if spec.knobs is None or name not in spec.knobs:
            raise WrongField(
                f"accepted.{name}", f'accepted.{name}: the session does not tune "{name}"; name it in `knobs` too'
            )
    with _naming_the_field(spec):
        knobs = database.knobs(allowed_by(spec))
        probe = database.probe(allowed_by(spec))
        _check_bounds(spec, knobs)
        choose(database, spec, probe)
    _check_objective(spec, probe)
    if spec.mode == "apply":
        _check_rights(probe)


def check_restarts(spec: SessionSpec, commands: Mapping[str, RestartCommand], host: str, port: int) -> None:
    """Check that the service has the restart command that a session names, for the server at this address, and that
    there is time for a trial.

    Args:
        commands: that the service has, by name.
    Raises:
        WrongField: it has none of this name, or that restarts another server; or a trial never fits into the window.
    """
    if spec.restarts is None:
        return
    fitting = sorted(name for name, command in commands.items() if command.serves(host, port))
    if spec.restarts.command not in fitting:
        known = f"it has {', '.join(fitting)}" if fitting else "it has none"
        raise WrongField(
            "restarts.command",
            f'restarts.command: the service has no command "{spec.restarts.command}" that restarts this server '
            f"({known}); its administrator names them in TUNEWRIGHT_RESTART_COMMANDS",
        )
    takes = spec.restarts.trial_seconds(spec.interval, commands[spec.restarts.command].seconds)
    if takes > spec.restarts.seconds:
        raise WrongField(
            "restarts.window",
            f"restarts.window: {spec.restarts.window} is open for {spec.restarts.seconds / 60:.0f} minutes, and to try "
            f"a setting takes up to {math.ceil(takes / 60)}; open it for longer, or take a shorter interval or settle",
        )


@contextmanager
def _naming_the_field(spec: SessionSpec) -> Iterator[None]:
    try:
        yield
    except KnobError as error:
        field = f"accepted.{error.knob}" if error.knob in spec.accepted else "knobs"
        raise WrongField(field, f"{field}: {error}") from None
    except SpecError as error:
        raise WrongField(str(error).partition(":")[0], str(error)) from None


def _check_bounds(spec: SessionSpec, knobs: list[Knob]) -> None:
    ranges = {knob.name: knob for knob in knobs if knob.low is not None and knob.high is not None}
    for name, given in spec.bounds.items():
        knob = ranges.get(name)
        # `choose` says what is wrong with all others.
        if knob is not None and not (knob.low <= given.low and given.high <= knob.high):  # type: ignore[operator]
            unit = f" {knob.unit}" if knob.unit else ""
            raise SpecError(
                f"bounds.{name}: {given.low:g} to {given.high:g} does not lie within {knob.low} to {knob.high}{unit}, "
                "which is what this server and the catalogue allow"
            )


def _check_objective(spec: SessionSpec, probe: Probe) -> None:
    for measure in spec.objective:
        needed = _NEEDS.get(measure)
        if needed is None or probe.can(needed):
            continue
        remedies = [
            c.remedy for c in probe.capabilities if c.name in (needed, "statements") and not c.works and c.remedy
        ]
        remedy = f"; {remedies[0]}" if remedies else "; take another measure, such as throughput"
        raise WrongField(f"objective.{measure}", f"objective.{measure}: this server does not tell it to us{remedy}")


def _check_rights(probe: Probe) -> None:
    apply = next((capability for capability in probe.capabilities if capability.name == "apply"), None)
    if apply is not None and not apply.works:
        raise WrongField(
            "mode",
            f"mode: the role {probe.role} cannot change settings here ({apply.loses}); as an administrator: "
            f"{apply.remedy}; or take the mode advice",
        )
