"""Every call of the REST API, once: what is sent, and how the answer is read.

The sync and the async client send these and know nothing else of the API.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import TypeAdapter, ValidationError

from tunewright._text import writable
from tunewright.errors import ApiError, SpecError
from tunewright.study import Budget, StudySpec, StudyState, TrialState
from tunewright.views import (
    AskedJobs,
    AuditEntry,
    Curves,
    Diagnosis,
    FinishedJob,
    Improvement,
    LogPage,
    Measurement,
    OptimizerInfo,
    Page,
    Plot,
    PlotInfo,
    QueuedConfig,
    Study,
    StudySummary,
    Told,
    Trial,
    TrialDetail,
    Workloads,
)

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8080"
PAGE_ITEMS = 200
LOG_CHARACTERS = 256 * 1024


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call.

    Attributes:
        answer: type of a successful answer's JSON; None when there is none.
        repeatable: a second arrival of the same call changes nothing, so it may be sent again after a lost answer.
        waits: seconds for which the service may hold its answer back, for something that it waits for.
    """

    method: str
    path: str
    answer: TypeAdapter[T] | None
    params: Mapping[str, str | int | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    repeatable: bool = True
    waits: float = 0.0

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `httpx.Client.request`."""
        headers = dict(self.headers)
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        return {
            "method": self.method,
            "url": self.path,
            "params": dict(self.params),
            "headers": headers,
            "content": self.body,
        }

    def timeout(self, seconds: float) -> httpx.Timeout:
        """For a client that waits so long for what the service says at once."""
        return httpx.Timeout(seconds, read=seconds + self.waits)

    def read(self, response: httpx.Response) -> T:
        """What the answer says.

        Raises:
            ApiError: the service answered with a problem, or it is not a Tunewright service.
        """
        if not response.is_success:
            raise problem(response)
        if self.answer is None:
            return None  # type: ignore[return-value]
        try:
            return self.answer.validate_json(response.content)
        except ValidationError as error:
            raise ApiError(
                response.status_code, "unexpected answer", f"{response.url} is not a Tunewright service of this version"
            ) from error


_NOTHING: TypeAdapter[None] | None = None
_STUDY = TypeAdapter(Study)
_STUDIES = TypeAdapter(Page[StudySummary])
_TRIAL = TypeAdapter(TrialDetail)
_TRIALS = TypeAdapter(Page[Trial])
_QUEUED = TypeAdapter(QueuedConfig)
_QUEUE = TypeAdapter(Page[QueuedConfig])
_REPORTS = TypeAdapter(Page[Measurement])
_LOG = TypeAdapter(LogPage)
_CURVES = TypeAdapter(Curves)
_IMPROVEMENTS = TypeAdapter(list[Improvement])
_PLOTS = TypeAdapter(list[PlotInfo])
_PLOT = TypeAdapter(Plot)
_ASKED = TypeAdapter(AskedJobs)
_TOLD = TypeAdapter(Told)
_FINISHED = TypeAdapter(FinishedJob)
_WORKLOADS = TypeAdapter(Workloads)
_DIAGNOSIS = TypeAdapter(Diagnosis)
_AUDIT = TypeAdapter(Page[AuditEntry])
_OPTIMIZERS = TypeAdapter(list[OptimizerInfo])


def submit(spec: StudySpec, idempotency_key: str) -> Call[Study]:
    # Defaults stay out, so that a service which does not know the newest fields still takes the study.
    body = spec.model_dump_json(exclude_defaults=True, fallback=_as_json)
    return Call("POST", "/v1/studies", _STUDY, headers={"Idempotency-Key": idempotency_key}, body=body)


def studies(state: StudyState | None, tags: Sequence[str], cursor: str | None) -> Call[Page[StudySummary]]:
    return Call("GET", "/v1/studies", _STUDIES, params={**_page(state, cursor), "tag": list(tags)})


def study(study_id: str) -> Call[Study]:
    return Call("GET", _path("studies", study_id), _STUDY)


def steer(study_id: str, verb: str) -> Call[Study]:
    """`verb`: pause, resume or cancel."""
    # A repeated cancel may meet a study that is over by then, and would be refused.
    return Call("POST", _path("studies", study_id, verb), _STUDY, repeatable=False)


def extend(study_id: str, budget: Budget | Mapping[str, Any]) -> Call[Study]:
    checked = budget if isinstance(budget, Budget) else Budget.model_validate(dict(budget))
    body = json.dumps({"budget": checked.model_dump(mode="json", exclude_defaults=True)})
    return Call("POST", _path("studies", study_id, "extend"), _STUDY, body=body)


def change(study_id: str, revision: int | None, changes: Mapping[str, Any]) -> Call[Study]:
    body = json.dumps({**changes, **({} if revision is None else {"revision": revision})})
    # Sent again after a lost answer, a change under a revision would meet its own effect.
    return Call("PATCH", _path("studies", study_id), _STUDY, body=body, repeatable=revision is None)


def clone(study_id: str, changes: Mapping[str, Any], idempotency_key: str) -> Call[Study]:
    body = json.dumps(dict(changes), default=_as_json)
    headers = {"Idempotency-Key": idempotency_key}
    return Call("POST", _path("studies", study_id, "clone"), _STUDY, headers=headers, body=body)


def retry(study_id: str, trial: int, idempotency_key: str) -> Call[QueuedConfig]:
    path = _path("studies", study_id, "trials", str(trial), "retry")
    return Call("POST", path, _QUEUED, headers={"Idempotency-Key": idempotency_key})


def note_trial(trial_id: str, notes: str) -> Call[TrialDetail]:
    return Call("PATCH", _path("trials", trial_id), _TRIAL, body=json.dumps({"notes": notes}))


def export(study_id: str, format: str, what: str) -> dict[str, Any]:
    """Keyword arguments of `httpx.Client.stream`."""
    return {"method": "GET", "url": _path("studies", study_id, "export"), "params": {"format": format, "what": what}}


def import_study() -> Call[Study]:
    """Its body is sent piece by piece."""
    return Call("POST", "/v1/studies/import", _STUDY, headers={"Content-Type": "application/json"}, repeatable=False)


def delete(study_id: str) -> Call[None]:
    return Call("DELETE", _path("studies", study_id), _NOTHING, repeatable=False)


def enqueue(study_id: str, config: Mapping[str, Any], idempotency_key: str) -> Call[QueuedConfig]:
    body = json.dumps({"config": dict(config)}, default=_as_json)
    headers = {"Idempotency-Key": idempotency_key}
    return Call("POST", _path("studies", study_id, "queue"), _QUEUED, headers=headers, body=body)


def queue(study_id: str, cursor: str | None) -> Call[Page[QueuedConfig]]:
    return Call("GET", _path("studies", study_id, "queue"), _QUEUE, params=_page(None, cursor))


def trials(study_id: str, state: TrialState | None, cursor: str | None) -> Call[Page[Trial]]:
    return Call("GET", _path("studies", study_id, "trials"), _TRIALS, params=_page(state, cursor))


def trial(trial_id: str) -> Call[TrialDetail]:
    return Call("GET", _path("trials", trial_id), _TRIAL)


def reports(trial_id: str, cursor: str | None) -> Call[Page[Measurement]]:
    return Call("GET", _path("trials", trial_id, "reports"), _REPORTS, params=_page(None, cursor))


def log(trial_id: str, position: int) -> Call[LogPage]:
    return Call("GET", _path("trials", trial_id, "log"), _LOG, params={"position": position, "limit": LOG_CHARACTERS})


def checkpoint(trial_id: str, resource: float | None) -> dict[str, Any]:
    """Keyword arguments of `httpx.Client.stream`."""
    params = {} if resource is None else {"resource": resource}
    return {"method": "GET", "url": _path("trials", trial_id, "checkpoint"), "params": params}


def curves(study_id: str, metric: str | None, trials: int, points: int) -> Call[Curves]:
    params: dict[str, str | int] = {"trials": trials, "points": points}
    if metric is not None:
        params["metric"] = metric
    return Call("GET", _path("studies", study_id, "curves"), _CURVES, params=params)


def plots(study_id: str) -> Call[list[PlotInfo]]:
    return Call("GET", _path("studies", study_id, "plots"), _PLOTS)


def plot(study_id: str, name: str, parameter: str | None, second: str | None) -> Call[Plot]:
    params: dict[str, str | int | list[str]] = {}
    for key, value in (("parameter", parameter), ("second", second)):
        if value is not None:
            params[key] = value
    return Call("GET", _path("studies", study_id, "plots", name), _PLOT, params=params)


def improvements(study_id: str) -> Call[list[Improvement]]:
    return Call("GET", _path("studies", study_id, "improvements"), _IMPROVEMENTS)


def ask(study_id: str, worker: str | None, count: int, wait: float, idempotency_key: str) -> Call[AskedJobs]:
    body = json.dumps({"worker": worker, "count": count, "wait": wait})
    headers = {"Idempotency-Key": idempotency_key}
    return Call("POST", _path("studies", study_id, "jobs:ask"), _ASKED, headers=headers, body=body, waits=wait)


def tell(job_id: str, reports: Sequence[Mapping[str, Any]]) -> Call[Told]:
    """`reports`: each with `resource` and `metrics`."""
    return Call("POST", _path("jobs", job_id, "reports"), _TOLD, body=json.dumps({"reports": reports}))


def heartbeat(job_id: str) -> Call[Told]:
    return Call("POST", f"{_path('jobs', job_id)}:heartbeat", _TOLD)


def finish(job_id: str, end: Mapping[str, Any]) -> Call[FinishedJob]:
    """`end`: state, problem, traceback, reports, ask."""
    waits = (end.get("ask") or {}).get("wait") or 0.0
    words = {name: writable(end[name]) for name in ("problem", "traceback") if isinstance(end.get(name), str)}
    body = json.dumps({**end, **words})
    return Call("POST", f"{_path('jobs', job_id)}:finish", _FINISHED, body=body, waits=waits)


def workloads() -> Call[Workloads]:
    return Call("GET", "/v1/workloads", _WORKLOADS)


def optimizers() -> Call[list[OptimizerInfo]]:
    return Call("GET", "/v1/optimizers", _OPTIMIZERS)


def diagnosis(study_id: str | None) -> Call[Diagnosis]:
    path = "/v1/diagnosis" if study_id is None else _path("studies", study_id, "diagnosis")
    return Call("GET", path, _DIAGNOSIS)


def audit(cursor: str | None) -> Call[Page[AuditEntry]]:
    return Call("GET", "/v1/audit", _AUDIT, params=_page(None, cursor))


def ready() -> Call[None]:
    # "Not ready" is an answer here, not a failure to try again.
    return Call("GET", "/readyz", _NOTHING, repeatable=False)


def events(study_id: str | None, after: int | None) -> dict[str, Any]:
    """Keyword arguments of `httpx_sse.connect_sse`."""
    return {
        "method": "GET",
        "url": "/v1/events",
        "params": {} if study_id is None else {"study": study_id},
        "headers": {} if after is None else {"Last-Event-ID": str(after)},
    }


def problem(response: httpx.Response) -> ApiError:
    """The error that an answer (read to its end) stands for."""
    fallback = ApiError(
        response.status_code,
        f"HTTP {response.status_code} {response.reason_phrase}".rstrip(),
        f"{response.url} did not answer as a Tunewright service does",
    )
    try:
        document = response.json()
    except ValueError:
        return fallback
    if not isinstance(document, dict) or "title" not in document:
        return fallback
    errors = [error for error in document.get("errors") or [] if isinstance(error, dict)]
    title, detail = str(document["title"]), str(document.get("detail") or "")
    wait = response.headers.get("retry-after", "")
    return ApiError(response.status_code, title, detail, errors, float(wait) if wait.isdigit() else None)


def service_url(url: str | None) -> str:
    """The address to call: `url`, else TUNEWRIGHT_URL, else the default of `tunewright serve`.

    Raises:
        SpecError: it is no http address.
    """
    found = (url or os.environ.get("TUNEWRIGHT_URL") or DEFAULT_URL).rstrip("/")
    try:
        parts = urlsplit(found)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        # Names of hosts beyond ASCII are looked at only here.
        usable = usable and bool(httpx.URL(found).host)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable:
        raise SpecError(f'url "{found}": give it as http://HOST:PORT')
    return found


def through_proxy(url: str) -> bool:
    """Whether the environment's proxies apply: not to a service on this machine."""
    return urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1")


def read_spec(spec: StudySpec | Path | str | Mapping[str, Any]) -> StudySpec:
    """A study in any of the forms in which people have it.

    Args:
        spec: a str is YAML text; a Path is a YAML file.
    Raises:
        SpecError, pydantic.ValidationError: it is wrong; names the field.
        OSError: the file cannot be read.
    """
    if isinstance(spec, StudySpec):
        return spec
    if isinstance(spec, (str, Path)):
        return StudySpec.from_yaml(spec)
    return StudySpec.model_validate(dict(spec))


def _path(*parts: str) -> str:
    collection, identifier, *rest = parts
    return "/".join(["/v1", collection, quote(identifier, safe=""), *rest])


def _as_json(value: Any) -> Any:
    """What stands for a part of a study, such as a `Budget` or a number of NumPy, as JSON has it."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    return TypeAdapter(type(value)).dump_python(value, mode="json", exclude_defaults=True)


def _page(state: str | None, cursor: str | None) -> dict[str, str | int]:
    params: dict[str, str | int] = {"limit": PAGE_ITEMS}
    if state is not None:
        params["state"] = state
    if cursor is not None:
        params["cursor"] = cursor
    return params
