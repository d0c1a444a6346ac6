"""Commands about trials: list them, look at one, at its log, and at the best."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from tunewright.cli import output, show
from tunewright.cli.identify import study_id, trial_id
from tunewright.cli.options import Json, StudyId, Url
from tunewright.client import Client
from tunewright.errors import TunewrightError
from tunewright.study import TrialState


def trials(
    study: StudyId = "last",
    state: Annotated[TrialState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many; all of them otherwise.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """List a study's trials, newest first."""
    with Client(url) as client:
        found = list(islice(client.trials(study_id(client, study), state), limit))
    if json:
        output.as_json(found)
    else:
        show.trials(found)


def trial(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="<study>-<number>, such as last-0.")],
    json: Json = False,
    url: Url = None,
) -> None:
    """Show a trial: its configuration, jobs, traceback and log."""
    with Client(url) as client:
        found = client.trial(trial_id(client, trial))
    if json:
        output.as_json(found)
    else:
        show.trial(found)


def logs(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="<study>-<number>, such as last-0.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what it prints, until it is over.")
    ] = False,
    url: Url = None,
) -> None:
    """Print a trial's log; of a very long one its beginning and end."""
    with Client(url) as client:
        for text in client.log(trial_id(client, trial), follow=follow):
            output.text(text)


def best(study: StudyId = "last", json: Json = False, url: Url = None) -> None:
    """Show the best configuration so far; of several objectives, every one that no other beats in all."""
    with Client(url) as client:
        found = client.study(study_id(client, study))
    if not found.best:
        raise TunewrightError(f"study {found.id} is {found.state} and has no result yet")
    if json:
        output.as_json(found.best)
    else:
        show.best(found)
