"""Everything at a glance: what is under way, on which cluster, and what went wrong."""

from __future__ import annotations

import time
from asyncio import to_thread
from datetime import UTC, datetime

from fastapi import APIRouter

from service.api.dependencies import CallerDep, Services, ServicesDep
from service.api.diagnosis import service_facts
from service.conducting import ClusterSeen
from service.diagnosis import ServiceFacts, diagnose, obstacles, worst_first
from service.store import under_way
from tunewright.overview_views import ClusterView, Overview
from tunewright.study import StudyState
from tunewright.views import Finding, Severity

router = APIRouter(prefix="/v1", tags=["health"])


@router.get("/overview")
async def get_overview(services: ServicesDep, caller: CallerDep) -> Overview:
    """Studies and sessions that are under way, the cluster, and failures of the last seven days."""
    return await to_thread(_overview, services, caller.only)


def _overview(services: Services, project: str | None) -> Overview:
    repository = services.repository
    facts = service_facts(services, confined=project is not None)
    with repository.engine.connect() as connection:
        studies, running_trials = under_way.study_counts(connection, project)
        sessions = under_way.session_counts(connection, project)
    return Overview(
        at=datetime.now(UTC),
        places=facts.conducting.most,
        studies=studies,
        sessions=sessions,
        running_trials=running_trials,
        running=under_way.studies(repository, project, StudyState.RUNNING),
        waiting=under_way.studies(repository, project, StudyState.QUEUED),
        tuning=under_way.tuning(repository, project),
        cluster=_cluster(facts.conducting.cluster),
        failures=under_way.failures(repository, project, time.time()),
        findings=_findings(facts),
    )


def _cluster(seen: ClusterSeen | None) -> ClusterView | None:
    if seen is None:
        return None
    return ClusterView(
        nodes=seen.nodes,
        cpus=seen.cpus,
        gpus=seen.gpus,
        free_cpus=seen.free_cpus,
        free_gpus=seen.free_gpus,
        seconds_ago=seen.seconds_ago,
    )


def _findings(facts: ServiceFacts) -> list[Finding]:
    """What is wrong; notes say only that all is well. Of other projects' studies nobody hears who sees one project."""
    found = worst_first([*obstacles(facts)]) if facts.confined else diagnose(facts)
    return [finding for finding in found if finding.severity is not Severity.NOTE]
