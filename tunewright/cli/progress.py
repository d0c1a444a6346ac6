"""A study's progress while it runs: a bar on a terminal, else a line whenever its state or its best changes."""

from __future__ import annotations

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tunewright.cli import output, show
from tunewright.client import Client
from tunewright.study import StudyState
from tunewright.views import Study


def follow(client: Client, study_id: str) -> Study:
    """Show a study's progress until it is over; returns it as it ended."""
    study = _draw(client, study_id) if output.for_people() else _print_lines(client, study_id)
    if output.for_people():
        tone = "green" if study.state is StudyState.COMPLETED else "red"
        reason = f": {output.plain(study.reason)}" if study.reason else ""
        output.console.print(Text(f"{study.state} after {show.duration(study.active_seconds)}{reason}", style=tone))
    return study


def _draw(client: Client, study_id: str) -> Study:
    with Live(console=output.console, refresh_per_second=8) as live:
        for study in client.watch(study_id):
            live.update(_picture(study))
    return study


def _picture(study: Study) -> Group:
    left = "" if study.seconds_left is None else f"{show.duration(study.seconds_left)} left"
    top = Table.grid(padding=(0, 1))
    top.add_row(
        Text(output.plain(study.name), style="bold"),
        Text(study.state),
        ProgressBar(total=1.0, completed=study.progress, width=30),
        f"{study.progress:4.0%}",
        left,
    )
    return Group(top, Text(show.standing(study), style="cyan"), Text(show.counts(study.counts), style="dim"))


def _print_lines(client: Client, study_id: str) -> Study:
    shown = None
    for study in client.watch(study_id):
        told = (study.state, study.best)
        if told != shown:
            shown = told
            output.line(study.state, f"{study.progress:.3f}", show.counts(study.counts), show.standing(study))
    return study
