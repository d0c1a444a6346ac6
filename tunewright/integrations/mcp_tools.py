"""What an assistant can do with a service: the tools that `tunewright mcp` offers, each one call of the client.

They can do no more than the token that is sent with them: the service checks its scope and its project.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tunewright.client import Client
from tunewright.study import StudyState, TrialState
from tunewright.views import Study, StudySummary


class Arguments(BaseModel):
    """Base of what a tool takes; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Nothing(Arguments):
    """No arguments."""


class WhichStudies(Arguments):
    state: StudyState | None = Field(None, description="Only those in this state.")
    tags: list[str] = Field(default_factory=list, description="Only those with all of these tags.")
    limit: int = Field(20, ge=1, le=200, description="At most so many, newest first.")


class OneStudy(Arguments):
    study: str = Field(min_length=1, description="The study's id, as list_studies and submit_study give it.")


class WhichTrials(OneStudy):
    state: TrialState | None = Field(None, description="Only those in this state.")
    limit: int = Field(20, ge=1, le=200, description="At most so many, newest first.")


class OneTrial(Arguments):
    trial: str = Field(min_length=1, description="The trial's id: <study>-<number>.")


class NewStudy(Arguments):
    study: dict[str, Any] = Field(
        description="The study: name, workload and budget, for example {trials: 40}; and where they should not be the"
        " workload's own or the default: space, objectives, fidelity, optimizer {name, settings}, parallel, data, seed."
    )
    key: str | None = Field(
        None, min_length=1, max_length=200, description="The same key with the same study submits it only once."
    )


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        writes: it changes something; the token needs the scope `write`.
        run: the client and its checked arguments -> a JSON object.
    """

    name: str
    description: str
    arguments: type[Arguments]
    run: Callable[[Client, Any], dict[str, Any]]
    writes: bool = False

    def declared(self) -> dict[str, Any]:
        """As `tools/list` has it."""
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.arguments.model_json_schema(),
            "annotations": {"readOnlyHint": not self.writes, "destructiveHint": self.name == "cancel_study"},
        }


def _list_studies(client: Client, given: WhichStudies) -> dict[str, Any]:
    found = islice(client.studies(given.state, given.tags), given.limit)
    return {"studies": [_summary(study) for study in found]}


def _show_study(client: Client, given: OneStudy) -> dict[str, Any]:
    return _plain(client.study(given.study))


def _best(client: Client, given: OneStudy) -> dict[str, Any]:
    study = client.study(given.study)
    return {"study": study.id, "state": study.state.value, "best": [_plain(best) for best in study.best]}


def _list_trials(client: Client, given: WhichTrials) -> dict[str, Any]:
    return {"trials": [_plain(trial) for trial in islice(client.trials(given.study, given.state), given.limit)]}


def _show_trial(client: Client, given: OneTrial) -> dict[str, Any]:
    return _plain(client.trial(given.trial))


def _diagnose(client: Client, given: OneStudy) -> dict[str, Any]:
    return _plain(client.diagnosis(given.study))


def _list_workloads(client: Client, given: Nothing) -> dict[str, Any]:
    return _plain(client.workloads())


def _list_optimizers(client: Client, given: Nothing) -> dict[str, Any]:
    return {"optimizers": [_plain(optimizer) for optimizer in client.optimizers()]}


def _submit(client: Client, given: NewStudy) -> dict[str, Any]:
    return _summary(client.submit(given.study, given.key))


def _cancel(client: Client, given: OneStudy) -> dict[str, Any]:
    return _summary(client.cancel(given.study))


TOOLS: Sequence[Tool] = (
    Tool("list_studies", "List studies: state, progress and best result of each.", WhichStudies, _list_studies),
    Tool("show_study", "Show a study with its whole specification, progress and best result.", OneStudy, _show_study),
    Tool(
        "best_configurations",
        "The best configuration of a study so far; of several objectives, those that no other beats in all.",
        OneStudy,
        _best,
    ),
    Tool("list_trials", "List a study's trials: configuration, state and last metrics.", WhichTrials, _list_trials),
    Tool("show_trial", "Show a trial with its jobs, why it failed, and the end of its log.", OneTrial, _show_trial),
    Tool("diagnose", "Say in words why a study does not go on, or that all is well.", OneStudy, _diagnose),
    Tool("list_workloads", "List what can be tuned, with search spaces and data options.", Nothing, _list_workloads),
    Tool("list_optimizers", "List what studies can be tuned by, with their settings.", Nothing, _list_optimizers),
    Tool("submit_study", "Submit a study; it starts as soon as there is room for it.", NewStudy, _submit, writes=True),
    Tool("cancel_study", "Cancel a study for good; what was measured stays.", OneStudy, _cancel, writes=True),
)


def _summary(study: StudySummary | Study) -> dict[str, Any]:
    shown = _plain(study)
    shown.pop("spec", None)
    return shown


def _plain(view: BaseModel) -> dict[str, Any]:
    """As JSON has it, which knows no nan."""
    shown: dict[str, Any] = json.loads(view.model_dump_json())
    return shown
