"""What Schemathesis is told of the API beside its document: bodies of which most are accepted.

Found by random alone, nearly every study would be refused for what no schema says: a workload that nobody knows.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import schemathesis

STUDY: dict[str, Any] = {
    "name": "fuzzed",
    "workload": "external",
    "space": {
        "x": {"type": "float", "low": 0.0, "high": 1.0},
        "n": {"type": "int", "low": 1, "high": 9},
        "kind": {"type": "categorical", "choices": ["a", "b"]},
    },
    "objectives": [{"metric": "loss"}],
    "fidelity": {"name": "steps", "max": 9},
    "budget": {"trials": 50},
    "parallel": 4,
}
REPORTS = {"reports": [{"resource": 1, "metrics": {"loss": 0.5}}]}
BODIES: dict[str, dict[str, Any]] = {
    "create_study": STUDY,
    "validate_study": {"study": STUDY},
    "create_session": {"database": "prod"},
    "attach_database": {
        "name": "fuzzed",
        "kind": "postgresql",
        "host": "127.0.0.1",
        "port": 1,
        "user": "a",
        "database": "b",
    },
    "create_labelling": {"dataset": "sbm"},
    "answer_question": {"question": 0, "answer": "yes"},
    "clone_study": {},
    "enqueue_config": {"config": {"x": 0.5, "n": 2, "kind": "a"}},
    "extend_study": {"budget": {"trials": 100}},
    "ask_for_jobs": {"count": 2},
    "tell_reports": REPORTS,
    "finish_job": {"state": "failed", "problem": "fuzzed"},
}
# Of what was made up these are kept: they cannot make a study unusable.
KEPT = frozenset({"name", "notes", "tags", "priority", "seed", "limits", "optimizer", "parallel", "problem", "worker"})
NO_RUNNER = b"cannot be asked or told now"


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Every second body that was made up becomes one that fits, but for some of its fields."""
    base = BODIES.get(context.operation.definition.raw.get("operationId", ""))
    if base is None or not isinstance(body, dict):
        return body
    if _coin(body):
        # Who asks where nothing is to be had waits as long as it says.
        return {name: value for name, value in body.items() if name != "wait"}
    return {**base, **{name: value for name, value in body.items() if name in KEPT and _coin([name, value])}}


def _coin(value: Any) -> bool:
    """Heads or tails, always the same of the same value."""
    return bool(zlib.crc32(json.dumps(value, default=repr, sort_keys=True).encode()) & 1)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Drop what is so only because nobody conducts here: studies wait for runners that never come."""
    return not (response is not None and response.status_code == 503 and NO_RUNNER in response.content)
