"""Links of the OpenAPI document: which answers name what can be asked for next, so that programs can walk the API."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

_OF_A_STUDY = (
    "get_study",
    "change_study",
    "pause_study",
    "resume_study",
    "cancel_study",
    "extend_study",
    "clone_study",
    "delete_study",
    "enqueue_config",
    "list_queue",
    "list_trials",
    "get_curves",
    "list_improvements",
    "get_progression",
    "get_study_diagnosis",
    "get_recipe",
    "ask_for_jobs",
)
_OF_A_TRIAL = (
    "get_trial",
    "change_trial",
    "list_reports",
    "get_log",
    "get_trial_curve",
    "get_lineage",
    "score_items",
    "recommend_items",
)
_OF_A_JOB = ("tell_reports", "keep_job", "finish_job")
_OF_A_DATABASE = ("get_database", "probe_database", "list_knobs", "replace_password", "detach_database")
_OF_A_SESSION = (
    "get_session",
    "pause_session",
    "resume_session",
    "stop_session",
    "delete_session",
    "list_intervals",
    "list_notices",
)

_OF_A_LABELLING = ("get_labelling", "get_next_question", "answer_question", "list_labels", "delete_labelling")

# Operation and status of an answer; where in it an id stands, and the parameter that takes it; what can be asked then.
_LINKS: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    ("create_study", "201", "id", "study_id", _OF_A_STUDY),
    ("clone_study", "201", "id", "study_id", _OF_A_STUDY),
    ("list_studies", "200", "items/0/id", "study_id", _OF_A_STUDY),
    ("list_trials", "200", "items/0/id", "trial_id", _OF_A_TRIAL),
    ("attach_database", "201", "id", "database_id", _OF_A_DATABASE),
    ("list_databases", "200", "items/0/id", "database_id", _OF_A_DATABASE),
    ("create_session", "201", "id", "session_id", _OF_A_SESSION),
    ("list_sessions", "200", "items/0/id", "session_id", _OF_A_SESSION),
    ("create_labelling", "201", "id", "labelling_id", _OF_A_LABELLING),
    ("list_labellings", "200", "items/0/id", "labelling_id", _OF_A_LABELLING),
    ("ask_for_jobs", "200", "jobs/0/id", "job_id", _OF_A_JOB),
    ("ask_for_jobs", "200", "jobs/0/trial", "trial_id", _OF_A_TRIAL),
)


def document(app: FastAPI) -> None:
    """Add the links to the OpenAPI document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        made = generate()
        operations = {
            operation["operationId"]: operation for path in made["paths"].values() for operation in path.values()
        }
        for name, status, place, parameter, targets in _LINKS:
            links = operations[name]["responses"][status].setdefault("links", {})
            for target in targets:
                links[target] = {
                    "operationId": target,
                    "parameters": {parameter: f"$response.body#/{place}"},
                }
        return made

    app.openapi = openapi  # type: ignore[method-assign]
