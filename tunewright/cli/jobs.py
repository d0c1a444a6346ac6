"""Commands for trials that run elsewhere: ask for a job, tell how it went."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tunewright.cli import output, show
from tunewright.cli.identify import study_id
from tunewright.cli.options import Json, StudyId, Url
from tunewright.cli.problems import Refused
from tunewright.client import Client
from tunewright.study import finite
from tunewright.views import AskedJob

_Job = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, as `ask` prints it.")]


def _number(text: str) -> float:
    """A number as the service takes it; Python also reads nan and 1_0."""
    number = float(text)
    if not finite(number) or "_" in text:
        raise ValueError(f"{text} is no finite number")
    return number


def ask(
    study: StudyId,
    worker: Annotated[str | None, typer.Option(help="Name to show.", show_default="this machine's address")] = None,
    count: Annotated[int, typer.Option(min=1, max=100, help="So many jobs at most.")] = 1,
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait while there is none.")] = 0,
    key: Annotated[str | None, typer.Option(help="Ask safely again: the same key gives the same jobs.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Ask for a job of a study whose trials run elsewhere; exits 1 when there is none."""
    timeout = 30.0 + wait
    with Client(url, timeout) as client:
        asked = client.ask(study_id(client, study), worker, count=count, wait=wait, idempotency_key=key)
    if json:
        output.as_json(asked)
    else:
        for job in asked.jobs:
            _show(job)
    if not asked.jobs:
        if not json:
            typer.echo(f"no job: {asked.reason}", err=True)
        raise typer.Exit(1)


def tell(
    job: _Job,
    metrics: Annotated[
        list[str] | None, typer.Argument(metavar="[METRIC=VALUE]...", help="What was measured at --report.")
    ] = None,
    report: Annotated[
        float | None, typer.Option(parser=_number, metavar="RESOURCE", help="Where it was measured.")
    ] = None,
    finish: Annotated[bool, typer.Option("--finish", help="The job is completed.")] = False,
    failed: Annotated[str | None, typer.Option(metavar="TEXT", help="The job has failed, and why.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Tell what a job has measured, or that it is over; without either, that it is still being worked on."""
    if (report is None) is not (not metrics):
        raise Refused("--report: stands with what was measured there, such as: --report 3 loss=0.5")
    if finish and failed is not None:
        raise Refused("--finish, --failed: a job is completed or has failed; give one")
    reports = [] if report is None else [{"resource": report, "metrics": dict(map(_metric, metrics or []))}]
    with Client(url) as client:
        if finish or failed is not None:
            end: dict[str, Any] = {"state": "failed", "problem": failed} if failed is not None else {}
            finished = client.finish(job, **end, reports=reports)
            if json:
                output.as_json(finished)
            else:
                output.line("ended" if finished.ended else f"not ended: {finished.reason}")
            return
        told = client.tell(job, reports)
    if json:
        output.as_json(told)
    else:
        output.line(told.answer)


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = _number(value)
    except ValueError:
        name = ""
    if not name:
        raise Refused(f'"{text}": give what was measured as METRIC=VALUE with a finite number, such as loss=0.5')
    return name, number


def _show(job: AskedJob) -> None:
    output.fields(
        [
            ("job", job.id),
            ("trial", job.trial),
            ("start", show.number(job.start)),
            ("end", show.number(job.end)),
            *([("parent", job.parent)] if job.parent else []),
            ("seed", str(job.seed)),
            ("lease_seconds", show.number(job.lease_seconds)),
            *((f"config.{name}", show.value_text(value)) for name, value in job.config.items()),
        ]
    )
