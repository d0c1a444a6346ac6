"""`tunewright doctor`: why is nothing running? Asks the service, and looks for itself where that does not answer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from tunewright._requests import through_proxy
from tunewright.cli import output
from tunewright.cli.identify import study_id
from tunewright.cli.options import Json, Url
from tunewright.cli.problems import Refused, field_lines
from tunewright.client import Client
from tunewright.errors import ConnectionFailed
from tunewright.views import Diagnosis, Finding, Severity

_COLOURS = {Severity.PROBLEM: "red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def doctor(
    study: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="A study's id, the beginning of one, or `last`; left out: the service."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where the service keeps its store; looked at when it does not answer.", show_default=False),
    ] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Say why nothing is running, and what to do about it. Ends with 1 where something is wrong."""
    with Client(url) as client:
        try:
            found = client.diagnosis(None if study is None else study_id(client, study))
        except ConnectionFailed as failure:
            found = _from_outside(failure, client.url, data_dir)
    if json:
        output.as_json(found)
    else:
        _show(found)
    if not found.well:
        raise typer.Exit(1)


def _from_outside(failure: ConnectionFailed, url: str, data_dir: Path | None) -> Diagnosis:
    """What can be said without the service: that it does not answer, and what keeps it from starting here."""
    findings = [
        Finding(
            severity=Severity.PROBLEM,
            code="no-answer",
            seen=failure.detail.partition(";")[0],
            why="nothing runs without the service, but for trials on a cluster of their own",
            remedy="start it: tunewright serve; or give the address of the right one: --url, or TUNEWRIGHT_URL",
        )
    ]
    if through_proxy(url):
        # It is on another machine, about which this one knows nothing.
        return _diagnosis(findings)
    try:
        from service.preflight import look
        from service.settings import ServiceSettings
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tunewright"):
            raise
        # This machine has the client only; the service is somewhere else.
        return _diagnosis(findings)
    given: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    try:
        settings = ServiceSettings(**given)
    except ValidationError as error:
        raise Refused("\n".join(field_lines(error))) from None
    return _diagnosis([*findings, *look(settings)])


def _diagnosis(findings: list[Finding]) -> Diagnosis:
    return Diagnosis(at=datetime.now(UTC), well=False, findings=findings)


def _show(found: Diagnosis) -> None:
    if not output.for_people():
        for finding in found.findings:
            output.line(finding.severity, finding.code, finding.seen, finding.why, finding.remedy)
        return
    if found.well:
        output.heading("Nothing is wrong.")
    for finding in found.findings:
        output.finding(finding.severity, _COLOURS[finding.severity], finding.seen, finding.why, finding.remedy)
