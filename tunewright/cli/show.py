"""How studies, trials and their values look."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from tunewright.cli import output
from tunewright.study import TrialState
from tunewright.views import Best, QueuedConfig, Study, StudySummary, Trial, TrialDetail

# What truth values and nothing are written as.
_WORDS = {"true", "false", "none", "null", "-", ""}


def studies(found: Iterable[StudySummary]) -> None:
    columns = ("Study", "Name", "Workload", "Optimizer", "State", "Progress", "Trials", "Best", "Created", "Tags")
    rows = (
        (
            study.id,
            study.name,
            study.workload,
            study.optimizer,
            study.state,
            f"{study.progress:.0%}",
            str(study.trials),
            objective_text(study, study.best[0], most=1) if study.best else "-",
            moment(study.created_at),
            " ".join(study.tags) or "-",
        )
        for study in found
    )
    output.table(columns, rows, right=("Progress", "Trials"))


def trials(found: Iterable[Trial]) -> None:
    columns = ("Trial", "State", "Resource", "Metrics", "Seconds", "Problem")
    rows = (
        (
            trial.id,
            trial.state,
            number(trial.resource),
            metrics(trial.metrics) or "-",
            f"{trial.seconds:.1f}",
            trial.problem or "-",
        )
        for trial in found
    )
    output.table(columns, rows, right=("Resource", "Seconds"))


def queue(found: Iterable[QueuedConfig]) -> None:
    rows = (
        (
            str(entry.number),
            entry.trial or "-",
            " ".join(f"{name}={value_text(value)}" for name, value in entry.config.items()),
            moment(entry.created_at),
        )
        for entry in found
    )
    output.table(("Number", "Trial", "Configuration", "Created"), rows, right=("Number",))


def trial(found: TrialDetail) -> None:
    output.fields(
        [
            ("trial", found.id),
            ("state", found.state),
            ("resource", number(found.resource)),
            *((name, number(value)) for name, value in found.metrics.items()),
            ("seconds", f"{found.seconds:.1f}"),
            *([("problem", found.problem)] if found.problem else []),
            *([("retry_of", str(found.retry_of))] if found.retry_of is not None else []),
            *((f"config.{name}", value_text(value)) for name, value in found.config.items()),
        ]
    )
    for job in found.jobs:
        on = f", on {job.worker}" if job.worker else ""
        of = "" if job.parent is None else f" of trial {job.parent}"
        told = f"{number(job.start)}{of} to {number(job.end)}, {job.state}, attempts: {job.attempts}{on}"
        output.fields([(f"job.{job.number}", told)])
    for job in found.jobs:
        output.block(f"Traceback of job {job.number}", job.traceback or "")
    output.block("Notes", found.notes)
    output.block("Log", found.log)


def best(study: Study) -> None:
    """The incumbent, or the whole Pareto set."""
    for incumbent in study.best:
        output.fields(
            [
                ("trial", f"{study.id}-{incumbent.trial}"),
                (study.spec.fidelity.name if study.spec.fidelity else "resource", number(incumbent.resource)),
                *((name, number(value)) for name, value in incumbent.metrics.items()),
                *((f"config.{name}", value_text(value)) for name, value in incumbent.config.items()),
            ]
        )


def standing(study: StudySummary) -> str:
    """The best so far in a few words."""
    if not study.best:
        return "no result yet"
    return f"best {objective_text(study, study.best[0])} (trial {study.best[0].trial})"


def objective_text(study: StudySummary, incumbent: Best, most: int | None = None) -> str:
    """The metrics that are optimised, as far as the view tells them."""
    if study.objectives:
        names = [objective.metric for objective in study.objectives]
        return metrics({name: incumbent.metrics[name] for name in names if name in incumbent.metrics}, most)
    return metrics(incumbent.metrics, most=1)


def counts(found: Mapping[TrialState, int]) -> str:
    """Number of trials in each state, in the order of a trial's life."""
    return ", ".join(f"{found[state]} {state}" for state in TrialState if found.get(state)) or "no trials yet"


def metrics(found: Mapping[str, float], most: int | None = None) -> str:
    return " ".join(f"{name}={number(value)}" for name, value in list(found.items())[:most])


def number(value: float) -> str:
    """Six digits for people, all of them for programs, which calculate with what they read."""
    return f"{value:.6g}" if output.for_people() else repr(value).removesuffix(".0")


def value_text(value: object) -> str:
    """A value of a configuration; for people, texts that would read as something else stand in quotes."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str) and output.for_people() and _misleads(value):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _misleads(text: str) -> bool:
    """Whether a text looks like a number, a truth value, nothing, or a text in quotes."""
    try:
        float(text)
    except ValueError:
        return text.lower() in _WORDS or text != text.strip() or text.startswith('"')
    return True


def duration(seconds: float) -> str:
    """A span of time in its two largest units."""
    whole = round(seconds)
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // below} {small}"
    return f"{whole} s"


def moment(at: datetime) -> str:
    """Local time for people, ISO 8601 for programs."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if output.for_people() else at.isoformat()
