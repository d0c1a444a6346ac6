"""Why is nothing running? Of the whole service, and of one study."""

from __future__ import annotations

import os
import shutil
import time
from asyncio import to_thread
from datetime import UTC, datetime
from pathlib import Path

from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError

from service.api.dependencies import CallerDep, Services, ServicesDep
from service.diagnosis import RAY_DISK_LIMIT, Disk, ServiceFacts, diagnose
from service.problems import answers
from service.store import overview
from service.study_diagnosis import diagnose_study
from tunewright.views import Diagnosis, Finding, Severity

router = APIRouter(prefix="/v1", tags=["health"])


@router.get("/diagnosis")
async def get_diagnosis(services: ServicesDep) -> Diagnosis:
    """Why nothing is running, in words: what is seen, what it means, and what to do about it."""
    return await to_thread(lambda: _diagnosis(None, diagnose(service_facts(services))))


@router.get("/studies/{study_id}/diagnosis", responses=answers(404))
async def get_study_diagnosis(study_id: str, services: ServicesDep, caller: CallerDep) -> Diagnosis:
    """Why a study is not getting on, in words."""
    return await to_thread(_of_study, study_id, services, caller.only is not None)


def _of_study(study_id: str, services: Services, confined: bool) -> Diagnosis:
    study = services.repository.study(study_id)
    work = overview.of_study(services.repository.engine, study.id)
    return _diagnosis(study.id, diagnose_study(study, work, service_facts(services, confined)))


def _diagnosis(study: str | None, findings: list[Finding]) -> Diagnosis:
    well = all(finding.severity is Severity.NOTE for finding in findings)
    return Diagnosis(at=datetime.now(UTC), study=study, well=well, findings=findings)


def service_facts(services: Services, confined: bool = False) -> ServiceFacts:
    """What is known of this service now.

    Args:
        confined: it is for somebody who sees one project only.
    """
    settings = services.settings
    try:
        store, problem = overview.read(services.repository.engine), None
    except SQLAlchemyError as error:
        # The driver's own words: a statement's text and values are nobody's business.
        store, problem = None, str(getattr(error, "orig", None) or type(error).__name__)
    disks = [_disk("store and checkpoints", settings.data_dir)]
    if settings.ray_address is None:
        disks.append(_disk("Ray's sockets and logs", settings.ray_temp_dir))
    found = tuple(disk for disk in disks if disk is not None)
    return ServiceFacts(time.time(), services.conductor.facts(), store, problem, found, confined)


def _disk(what: str, path: Path) -> Disk | None:
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    return Disk(what, str(path), usage.free, usage.total, _ray_disk_limit())


def _ray_disk_limit() -> float:
    try:
        return float(os.environ["RAY_local_fs_capacity_threshold"])  # noqa: SIM112  # the name is Ray's
    except (KeyError, ValueError):
        return RAY_DISK_LIMIT
