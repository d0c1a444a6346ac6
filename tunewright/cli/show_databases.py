"""How databases and their knobs look."""

from __future__ import annotations

from collections.abc import Iterable

from tunewright.cli import output, show
from tunewright.session_views import CapabilityView, DatabaseView, KnobView, ProbeView

_GIB = 2**30


def databases(found: Iterable[DatabaseView]) -> None:
    columns = ("Database", "Name", "Project", "Server", "Address", "Role", "Session", "Attached")
    rows = (
        (
            database.id,
            database.name,
            database.project,
            f"{database.kind} {database.probe.version}" if database.probe else database.kind,
            address(database),
            database.user,
            database.session or "-",
            show.moment(database.created_at),
        )
        for database in found
    )
    output.table(columns, rows)


def attached(database: DatabaseView) -> None:
    """What was attached, or would be."""
    output.fields(
        [
            *([("database", database.id)] if database.id else []),
            ("name", database.name),
            ("address", address(database)),
            ("tls", database.tls),
            ("password", database.password),
        ]
    )
    if database.probe is not None:
        probe(database.probe)


def probe(found: ProbeView) -> None:
    """What works, what is lost, and the statements that an administrator has to run."""
    output.fields(
        [
            ("server", f"{found.kind} {found.version}" + (", a replica" if found.replica else "")),
            ("role", found.role + (", may only read here" if found.read_only else "")),
            ("machine", _machine(found)),
            ("connections", f"{found.connections} of {found.max_connections}"),
            *((f"works.{capability.name}", _works(capability)) for capability in found.capabilities),
            *(("restart_pending", name) for name in found.pending_restart),
            *(("note", note) for note in found.notes),
        ]
    )
    if not found.missing:
        return
    if output.for_people():
        # Rights on functions are those of one database.
        output.heading("An administrator has to run this in the attached database, so that everything works:")
        for statement in found.missing:
            output.line(statement)
    else:
        output.fields([("missing", statement) for statement in found.missing])


def knobs(found: Iterable[KnobView]) -> None:
    columns = ("Knob", "Now", "Default", "Unit", "Range", "Felt", "Danger", "Offered", "Accept with")
    rows = (
        (
            knob.name,
            value(knob.current),
            "-" if knob.default is None else value(knob.default),
            knob.unit or "-",
            _range(knob),
            knob.applies,
            knob.danger,
            "yes" if knob.offered else "no",
            knob.loses or "-",
        )
        for knob in found
    )
    output.table(columns, rows, right=("Now", "Default"))


def address(database: DatabaseView) -> str:
    return f"{database.kind}://{database.user}@{database.host}:{database.port}/{database.database}"


def value(of: object) -> str:
    """A setting as servers write it."""
    if isinstance(of, bool):
        return "on" if of else "off"
    return of if isinstance(of, str) else show.value_text(of)


def _works(capability: CapabilityView) -> str:
    """Whether it works, what is lost and what to do about it; GRANTs are listed by themselves."""
    remedy = "" if capability.remedy.startswith("GRANT ") else capability.remedy
    said = ". ".join(filter(None, (capability.loses, remedy)))
    return ("yes" if capability.works else "no") + (f": {said}" if said else "")


def _range(knob: KnobView) -> str:
    if knob.choices:
        return ", ".join(knob.choices)
    if knob.low is None or knob.high is None:
        return "on, off" if knob.type == "bool" else "-"
    special = f" or {value(knob.special['value'])} ({knob.special['meaning']})" if knob.special else ""
    return f"{show.number(knob.low)} to {show.number(knob.high)}{special}"


def _machine(found: ProbeView) -> str:
    ram = "memory unknown (give --ram)" if found.ram_bytes is None else f"{found.ram_bytes / _GIB:.1f} GiB of memory"
    cores = "processors unknown (give --cores)" if found.cores is None else f"{found.cores} processors"
    return f"{ram}, {cores}"
