"""Ask and tell: what a request about a job means, whether or not the study has a runner at the moment.

A runner answers for its study. Where there is none, the store says why: the study is over or paused, and then what is
told is kept by the API itself; or its runner is being replaced, and then the request waits for a while.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError

from service.api.dependencies import Services, read
from service.store.asked_jobs import JobRef
from service.store.errors import Conflict, NotFound
from tunewright.study import EXTERNAL, StudyState
from tunewright.views import AskedJob, AskedJobs, FinishedJob, Study
from workers.ask_tell import Answer, Ask, Given, GivenJob, Refused, Tell, Told, Why, wrong_report
from workers.journal import Wanted
from workers.orders import Reply
from workers.study_runner import NO_DESK

# A request waits so long for a runner; a new one is there within a second or two.
PATIENCE_SECONDS = 5.0
RETRY_SECONDS = 0.1
RESTING_SECONDS = 0.5
RETRY_AFTER = "2"


async def ask(services: Services, study_id: str, wish: Ask) -> AskedJobs:
    """Jobs of a study, or why there are none.

    Raises:
        NotFound: no such study.
        Conflict: its trials run on the cluster, or the key was used for another request.
        HTTPException: it has no runner for the moment (503).
    """
    until = time.monotonic() + wish.wait
    given = await _asked(services, study_id, wish, time.monotonic())
    while not given.jobs and not given.over and time.monotonic() < until:
        given = await _asked(services, study_id, wish, until)
        if not given.jobs and not given.over and (left := until - time.monotonic()) > 0:
            # It gives no jobs out now, so nobody holds the answer back: it is paused, or winds down.
            await asyncio.sleep(min(RESTING_SECONDS, left))
    return given


async def tell(services: Services, ref: JobRef, word: Tell) -> Reply:
    """Reports, or that a client is alive; what it should do.

    Raises:
        NotFound: no such job.
        RequestValidationError: a report is wrong.
        HTTPException: the study has no runner for the moment (503).
    """
    answer = await _told(services, ref, word)
    return Reply.ABANDON if answer is None else answer.reply


async def finish(services: Services, ref: JobRef, word: Tell) -> FinishedJob:
    """The end of a job, and what comes next.

    Raises:
        NotFound, RequestValidationError, HTTPException: as `tell`.
        Conflict: this attempt was finished before, and with something else.
    """
    assert word.finish is not None
    wish, began = word.ask, time.monotonic()
    answer = await _told(services, ref, word if wish is None else replace(word, ask=replace(wish, wait=0.0)))
    reason = None
    if answer is None or not answer.ended:
        reason = await _why_not(services, ref, f"{ref.attempt}:{word.finish.digest}")
    following: AskedJobs | None = None
    if wish is not None:
        given = None if answer is None else answer.given
        if isinstance(given, Given) and given.jobs:
            following = _jobs(ref.study, given)
        elif isinstance(given, Refused):
            raise Conflict(f"Idempotency-Key {given.message}")
        else:
            left = max(0.0, wish.wait - (time.monotonic() - began))
            following = await ask(services, ref.study, replace(wish, wait=left))
    return FinishedJob(ended=reason is None, reason=reason, next=following)


async def _asked(services: Services, study_id: str, wish: Ask, until: float) -> AskedJobs:
    """What the study's runner answers; it may hold that back until then."""
    missed: float | None = None
    while True:
        wait = max(0.0, until - time.monotonic())
        answer = await services.desks.say(study_id, replace(wish, wait=wait))
        if isinstance(answer, Given) and answer.jobs:
            return _jobs(study_id, answer)
        if isinstance(answer, Refused) and answer.why is Why.CONFLICT:
            raise Conflict(answer.message if answer.message == NO_DESK else f"Idempotency-Key {answer.message}")
        study = await _external(services, study_id)
        if isinstance(answer, Given) or study.state.final or _rests(study):
            return _none(study)
        missed = await _wait_for_runner(services, study, missed)


async def _told(services: Services, ref: JobRef, word: Tell) -> Told | None:
    """What the study's runner answers; None where it has none, and the reports are kept."""
    missed: float | None = None
    while True:
        answer: Answer = await services.desks.say(ref.study, word)
        if isinstance(answer, Told):
            return answer
        assert isinstance(answer, Refused)
        if answer.why is Why.UNKNOWN:
            raise NotFound(f"job {ref} does not exist; a job's id is what an ask has answered")
        if answer.why is Why.INVALID:
            raise _invalid(answer.field, answer.message)
        if answer.why is Why.CONFLICT:
            raise Conflict(answer.message)
        study = await _external(services, ref.study)
        if study.state.final or _rests(study):
            await _check(services, ref, study, word)
            if await asyncio.to_thread(services.repository.keep_reports, ref, word.reports):
                return None
        missed = await _wait_for_runner(services, study, missed)


async def _check(services: Services, ref: JobRef, study: Study, word: Tell) -> None:
    job = await read(services, services.repository.asked_job, ref)
    for place, (resource, metrics) in enumerate(word.reports):
        problem = wrong_report(job.end, study.spec.objectives, resource, metrics)
        if problem is not None:
            raise _invalid(f"reports.{place}.{problem[0]}", problem[1])


async def _why_not(services: Services, ref: JobRef, told: str) -> str | None:
    """Why an attempt did not end its job; None where it did so before, by the same words."""
    job = await read(services, services.repository.asked_job, ref)
    if job.told == told:
        return None
    if job.told is not None and job.told.partition(":")[0] == str(ref.attempt):
        raise Conflict(f"job {ref} was finished before ({job.state}), and with something else; nothing was changed")
    if job.end_seq is None:
        return "its lease had run out; it will be, or has been, given to somebody else. Its reports are kept"
    return f"it had ended before ({job.state}{f': {job.problem}' if job.problem else ''}). Its reports are kept"


async def _external(services: Services, study_id: str) -> Study:
    study = await read(services, services.repository.study, study_id)
    if study.workload != EXTERNAL:
        raise Conflict(NO_DESK)
    return study


def _rests(study: Study) -> bool:
    return study.state is StudyState.PAUSED and study.wanted == Wanted.PAUSE


async def _wait_for_runner(services: Services, study: Study, missed: float | None) -> float:
    """Wait a moment for a runner.

    Args:
        missed: when this request met none before; it may have waited at the desk of one for long before that.
    Returns:
        When it met none first.
    Raises:
        HTTPException: it has waited long enough.
    """
    now = time.monotonic()
    missed = now if missed is None else missed
    if now - missed >= PATIENCE_SECONDS:
        ill = services.conductor.problem
        why = ill or ("it waits for its turn" if study.state is StudyState.QUEUED else "its runner is being replaced")
        raise HTTPException(
            503, f"study {study.id} cannot be asked or told now: {why}; try again", headers={"Retry-After": RETRY_AFTER}
        )
    await asyncio.sleep(RETRY_SECONDS)
    return missed


def _none(study: Study) -> AskedJobs:
    if study.state.final:
        reason = study.reason or f"the study is {study.state}"
    elif study.wanted == Wanted.CANCEL:
        reason = "the study is being cancelled"
    elif study.wanted == Wanted.PAUSE:
        reason = "the study is paused"
    else:
        reason = (
            f"all that there is to do now is given out: the study allows {study.spec.parallel} at a time (parallel), "
            "and its optimizer may wait for results"
        )
    return AskedJobs(jobs=[], state=study.state, over=study.state.final, reason=reason)


def _jobs(study_id: str, given: Given) -> AskedJobs:
    return AskedJobs(jobs=[_job(study_id, job) for job in given.jobs], state=StudyState.RUNNING)


def _job(study_id: str, given: GivenJob) -> AskedJob:
    job = given.job
    return AskedJob(
        id=str(JobRef(study_id, job.id, given.attempt)),
        study=study_id,
        trial=f"{study_id}-{job.trial}",
        config=job.config,
        start=job.start,
        end=job.end,
        parent=None if job.parent is None else f"{study_id}-{job.parent}",
        seed=given.seed,
        lease_seconds=given.lease_seconds,
    )


def _invalid(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", *field.split(".")), "msg": message, "type": "value_error"}])
