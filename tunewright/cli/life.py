"""Commands about what people say of studies and trials, and what they do with them again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tunewright.cli import output
from tunewright.cli.identify import study_id, trial_id
from tunewright.cli.options import Json, StudyId, Url
from tunewright.cli.problems import Refused
from tunewright.client import Client
from tunewright.errors import ApiError
from tunewright.study import Priority, TrialState
from tunewright.views import Study

# Others may change a study's tags between our look at them and our change.
TRIES = 5


def tag(
    study: StudyId,
    tags: Annotated[list[str] | None, typer.Argument(help="Tags to add, such as baseline or team=search.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="TAG", help="Take a tag away; may be repeated.")
    ] = None,
    url: Url = None,
) -> None:
    """Add tags to a study, or take some away; prints those that it has then."""
    with Client(url) as client:
        found = _retag(client, study_id(client, study), tags or [], remove or [])
    for each in found.tags:
        output.line(each)


def note(
    what: Annotated[str, typer.Argument(metavar="STUDY|TRIAL", help="A study, or a trial such as last-0.")],
    text: Annotated[str | None, typer.Argument(help="What to note, instead of what is noted; - reads it.")] = None,
    url: Url = None,
) -> None:
    """Note something about a study or a trial; without a text, print what is noted."""
    given = typer.get_text_stream("stdin").read() if text == "-" else text
    with Client(url) as client:
        number = what.rpartition("-")[2]
        if "-" in what and number.isdigit():
            trial = trial_id(client, what)
            noted = client.trial(trial).notes if given is None else client.note_trial(trial, given).notes
        else:
            identity = study_id(client, what)
            noted = (client.study(identity) if given is None else client.change(identity, notes=given)).spec.notes
    if given is None and noted:
        output.text(noted if noted.endswith("\n") else f"{noted}\n")


def rename(study: StudyId, name: Annotated[str, typer.Argument(help="Its new name.")], url: Url = None) -> None:
    """Give a study another name."""
    with Client(url) as client:
        found = client.change(study_id(client, study), name=name)
    output.line(f"study {found.id} is named {found.name}")


def prioritize(
    study: StudyId, priority: Annotated[Priority, typer.Argument(help="Beside other studies.")], url: Url = None
) -> None:
    """Give a study a larger or smaller share of the cluster, also while it runs."""
    with Client(url) as client:
        found = client.change(study_id(client, study), priority=priority)
    output.line(f"study {found.id} has {found.priority} priority")


def retry(
    study: StudyId,
    trials: Annotated[list[int] | None, typer.Argument(help="Numbers of failed trials.", min=0)] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed and were not tried again yet.")] = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Try failed trials again: their configurations are enqueued once more."""
    if bool(trials) is failed:
        raise Refused("name trials by their numbers, or give --failed")
    with Client(url) as client:
        identity = study_id(client, study)
        entries = [client.retry(identity, number) for number in trials or _not_retried(client, identity)]
    if json:
        output.as_json(entries)
        return
    for entry in entries:
        output.line(f"study {identity} will try {entry.retry_of} again as number {entry.number} of its queue")


def clone(
    study: StudyId,
    name: Annotated[str | None, typer.Option(help="Name of the new study.", show_default="as the old one")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the new study.", show_default="as the old one")] = None,
    trials: Annotated[
        int | None, typer.Option(help="Trials that it may start.", show_default="the old one's budget")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="Its optimizer.", show_default="as the old one")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Submit a study like another one."""
    budget = None if trials is None else {"trials": trials}
    changes: dict[str, Any] = {"name": name, "seed": seed, "budget": budget, "optimizer": optimizer}
    with Client(url) as client:
        given = {field: value for field, value in changes.items() if value is not None}
        found = client.clone(study_id(client, study), **given)
    if json:
        output.as_json(found)
    else:
        output.line(found.id)


def _retag(client: Client, study: str, add: list[str], remove: list[str]) -> Study:
    for left in reversed(range(TRIES)):
        found = client.study(study)
        tags = [each for each in dict.fromkeys([*found.tags, *add]) if each not in remove]
        if tags == found.tags:
            return found
        try:
            return client.change(study, tags=tags, revision=found.revision)
        except ApiError as error:
            if error.status != 409 or not left:
                raise
    raise AssertionError


def _not_retried(client: Client, study: str) -> list[int]:
    retried = {entry.retry_of for entry in client.queue(study)}
    failed = [trial for trial in client.trials(study, TrialState.FAILED) if trial.id not in retried]
    if not failed:
        raise Refused(f"study {study} has no failed trial that was not tried again")
    return sorted(trial.number for trial in failed)
