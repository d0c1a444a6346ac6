"""Jobs of studies whose trials run elsewhere: ask for one, tell how it goes, finish it."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field

from service import asking
from service.api.dependencies import ServicesDep
from service.json_body import JsonRoute
from service.problems import answers
from service.store.asked_jobs import JobRef
from service.store.request_keys import RequestKey
from tunewright.study import METRIC_NAME
from tunewright.views import AskedJobs, FinishedJob, Told
from workers.ask_tell import Ask, Finish, Measured, Tell
from workers.orders import Outcome

MAX_JOBS = 100
MAX_WAIT = 60.0
MAX_REPORTS = 1_000
MAX_PROBLEM = 4_000
MAX_TRACEBACK = 64 * 1024

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=JsonRoute)

# Kept with the job, as long as the study.
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Ask safely again: the same key gives the same jobs"),
]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Metric = Annotated[str, Field(min_length=1, max_length=100, pattern=METRIC_NAME)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Wish(_Body):
    """What is asked for.

    Attributes:
        worker: the client's name, for people; its address otherwise.
        count: jobs at most.
        wait: seconds to wait while there is none.
    """

    worker: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    count: Annotated[int, Field(strict=True, ge=1, le=MAX_JOBS)] = 1
    wait: Annotated[float, Field(strict=True, ge=0, le=MAX_WAIT)] = 0.0


class OneReport(_Body):
    """A measurement: `metrics` has every objective; further numbers are kept and drawn."""

    resource: Annotated[_Number, Field(gt=0)]
    metrics: Annotated[dict[_Metric, _Number], Field(min_length=1, max_length=1_000)]


class Reports(_Body):
    """Measurements, in order; one at a resource that was reported before counts no more."""

    reports: Annotated[list[OneReport], Field(min_length=1, max_length=MAX_REPORTS)]


class End(_Body):
    """How a job ended, with the last reports, and what is wanted next.

    Attributes:
        state: `completed`, with a report at the job's end; `stopped` when it was told to stop; `failed`; `returned`
            when the client cannot go on, and somebody else is to begin the job anew.
        problem, traceback: why it failed.
    """

    state: Literal["completed", "stopped", "failed", "returned"] = "completed"
    problem: Annotated[str, Field(max_length=MAX_PROBLEM)] | None = None
    traceback: Annotated[str, Field(max_length=MAX_TRACEBACK)] | None = None
    reports: Annotated[list[OneReport], Field(max_length=MAX_REPORTS)] = Field(default_factory=list)
    ask: Wish | None = None


@router.post("/studies/{study_id}/jobs:ask", responses=answers(404, 409, 413, 415, 507))
async def ask_for_jobs(
    study_id: str,
    services: ServicesDep,
    request: Request,
    body: Wish | None = None,
    idempotency_key: IdempotencyKey = None,
) -> AskedJobs:
    """Ask for jobs. There may be none: the answer says whether to ask again, or that the study is over."""
    return await asking.ask(services, study_id, _wish(body or Wish(), request, idempotency_key))


@router.post("/jobs/{job_id}/reports", responses=answers(404, 409, 413, 415, 507))
async def tell_reports(job_id: str, body: Reports, services: ServicesDep) -> Told:
    """Tell measurements; the answer says whether to go on. Telling them again changes nothing."""
    ref = JobRef.parse(job_id)
    reply = await asking.tell(services, ref, Tell(ref.number, ref.attempt, _measured(body.reports)))
    return Told(answer=reply)


@router.post("/jobs/{job_id}:heartbeat", responses=answers(404, 409))
async def keep_job(job_id: str, services: ServicesDep) -> Told:
    """Say that a job is still being worked on; the answer says whether to go on."""
    ref = JobRef.parse(job_id)
    return Told(answer=await asking.tell(services, ref, Tell(ref.number, ref.attempt)))


@router.post("/jobs/{job_id}:finish", responses=answers(404, 409, 413, 415, 507))
async def finish_job(
    job_id: str, body: End, services: ServicesDep, request: Request, idempotency_key: IdempotencyKey = None
) -> FinishedJob:
    """Finish a job, and ask for the next in the same request. The same again has the same answer, the next job too."""
    ref = JobRef.parse(job_id)
    outcome = Outcome.LOST if body.state == "returned" else Outcome(body.state)
    problem = body.problem or ("its client gave it back" if body.state == "returned" else None)
    finish = Finish(outcome, _digest(body), problem, body.traceback)
    wish = None if body.ask is None else _wish(body.ask, request, idempotency_key or f"after {ref}")
    return await asking.finish(services, ref, Tell(ref.number, ref.attempt, _measured(body.reports), finish, wish))


def _wish(body: Wish, request: Request, key: str | None) -> Ask:
    worker = body.worker or (request.client.host if request.client else "a client")
    digest = None if key is None else RequestKey.of(key, body.worker, body.count).digest
    return Ask(worker, body.count, body.wait, key, digest)


def _measured(reports: list[OneReport]) -> tuple[Measured, ...]:
    return tuple((report.resource, report.metrics) for report in reports)


def _digest(body: End) -> str:
    told = json.dumps(body.model_dump(exclude={"ask"}), sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]
