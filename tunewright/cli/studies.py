"""Commands about studies: submit, list, follow, steer, delete."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError

from tunewright._yaml import read_mapping
from tunewright.cli import output, show
from tunewright.cli.identify import study_id
from tunewright.cli.options import Json, StudyId, Url
from tunewright.cli.problems import Refused, in_file, in_options
from tunewright.cli.progress import follow
from tunewright.client import Client
from tunewright.errors import SpecError
from tunewright.study import Budget, StudySpec, StudyState
from tunewright.views import Study

T = TypeVar("T")


def submit(
    file: Annotated[Path, typer.Argument(help="A study in YAML; - reads it from standard input.")],
    warm_start: Annotated[
        list[str] | None,
        typer.Option("--warm-start", metavar="STUDY", help="Learn from an earlier study; may be repeated."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it is over.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Submit a study."""
    place = Path.cwd() if str(file) == "-" else file.parent
    spec = _read(file, lambda text: StudySpec.from_yaml(text, place))
    with Client(url) as client:
        earlier = [study_id(client, given) for given in [*spec.warm_start, *(warm_start or [])]]
        study = client.submit(spec.model_copy(update={"warm_start": list(dict.fromkeys(earlier))}))
        if json and not watch:
            output.as_json(study)
        elif output.for_people():
            output.heading(f"Submitted {study.name}: {study.id}")
            output.fields([("page", f"{client.url}/studies/{study.id}")])
        elif not json:
            output.line(study.id)
        if watch:
            _follow(client, study.id, json)


def studies(
    state: Annotated[StudyState | None, typer.Option(help="Only those in this state.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Only those with this tag; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many; all of them otherwise.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """List studies, newest first."""
    with Client(url) as client:
        found = list(islice(client.studies(state, tag or ()), limit))
    if json:
        output.as_json(found)
    else:
        show.studies(found)


def watch(study: StudyId = "last", json: Json = False, url: Url = None) -> None:
    """Follow a study until it is over; exits 1 when it fails or is cancelled."""
    with Client(url) as client:
        _follow(client, study_id(client, study), json)


def pause(study: StudyId, url: Url = None) -> None:
    """Pause a study: running trials save their state and stop."""
    with Client(url) as client:
        _steered(client.pause(study_id(client, study)), "is pausing")


def resume(study: StudyId, url: Url = None) -> None:
    """Resume a paused study."""
    with Client(url) as client:
        _steered(client.resume(study_id(client, study)), "goes on")


def cancel(study: StudyId, url: Url = None) -> None:
    """Cancel a study for good; what was measured stays."""
    with Client(url) as client:
        _steered(client.cancel(study_id(client, study)), "is being cancelled")


def extend(
    study: StudyId,
    trials: Annotated[int | None, typer.Option(help="Trials that it may start, in all.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds that it may run, in all.")] = None,
    cluster_seconds: Annotated[float | None, typer.Option(help="Seconds that its trials may run, in all.")] = None,
    patience: Annotated[int | None, typer.Option(help="Trials that may bring nothing better.")] = None,
    target: Annotated[float | None, typer.Option(help="Value of the first objective without a bound to reach.")] = None,
    url: Url = None,
) -> None:
    """Let a study that has ended go on; the limits that are given replace its budget."""
    try:
        budget = Budget(
            trials=trials, seconds=seconds, cluster_seconds=cluster_seconds, patience=patience, target=target
        )
    except ValidationError as error:
        raise in_options(error) from None
    with Client(url) as client:
        _steered(client.extend(study_id(client, study), budget), "goes on")


def enqueue(
    study: StudyId,
    file: Annotated[Path, typer.Argument(help="A configuration in YAML; - reads it from standard input.")],
    json: Json = False,
    url: Url = None,
) -> None:
    """Enqueue a configuration: the next new trial has it. What it leaves out are the defaults."""
    config = _read(file, lambda text: read_mapping(text, "configuration", "a value for each parameter"))
    with Client(url) as client:
        entry = client.enqueue(study_id(client, study), config)
    if json:
        output.as_json(entry)
    else:
        output.line(f"study {entry.study} will try it as number {entry.number} of its queue")


def queue(study: StudyId = "last", json: Json = False, url: Url = None) -> None:
    """List the configurations that were enqueued, and the trials that they became."""
    with Client(url) as client:
        found = list(client.queue(study_id(client, study)))
    if json:
        output.as_json(found)
    else:
        show.queue(found)


def delete(
    study: StudyId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
) -> None:
    """Delete a study that is over, with everything measured in it."""
    with Client(url) as client:
        found = client.study(study_id(client, study))
        if not yes and sys.stdin.isatty():
            typer.confirm(f"Delete {output.plain(found.name)} ({found.id}) and its {found.trials} trials?", abort=True)
        client.delete(found.id)
        output.line(f"study {found.id} is deleted")


def _read(file: Path, parse: Callable[[str], T]) -> T:
    name = "standard input" if str(file) == "-" else str(file)
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{name}: is no text in UTF-8") from None
    try:
        return parse(text)
    except (ValidationError, SpecError) as error:
        raise in_file(name, error) from None


def _follow(client: Client, study_id: str, json: bool) -> None:
    study = client.wait(study_id) if json else follow(client, study_id)
    if json:
        output.as_json(study)
    elif output.for_people():
        show.best(study)
    if study.state is not StudyState.COMPLETED:
        raise typer.Exit(1)


def _steered(study: Study, what: str) -> None:
    output.line(f"study {study.id} {what}")
