"""Findings: what is said of a service and of a study, from facts alone and over REST."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from optimizers.protocol import JobEnd
from service.conducting import ClusterSeen, Conducting, Crashed
from service.diagnosis import Disk, ServiceFacts, diagnose
from service.store import overview
from service.store.leases import Lease
from service.store.overview import Overview, RunningJob, RunningStudy, StudyFacts
from service.study_diagnosis import diagnose_study
from tests.service.conftest import Service, complete_spec, ended, report, sqlite_only, start
from tunewright.errors import WorkloadError
from tunewright.study import Resources, StudyState, TrialLimits, TrialState
from tunewright.views import Finding, Severity, Study
from tunewright.workload import load
from workers.journal import AttemptStarted

NOW = 1_800_000_000.0
CLUSTER = ClusterSeen(cpus=4, gpus=0, free_cpus=4, free_gpus=0)
EMPTY = Overview(
    studies={},
    waiting=[],
    waiting_since=None,
    waiting_studies=0,
    running=[],
    running_jobs=0,
    conductor=Lease("here:1", 3, 5.5),
    last_event=9,
    last_event_at=NOW - 1,
)
WELL = ServiceFacts(NOW, Conducting(holder="here:1", leads=True, tick_seconds=0.2, most=2, cluster=CLUSTER), EMPTY)
RUNNING = StudyFacts(lease=Lease("here:1", 1, 9.5), jobs=[], problems=[])


def codes(findings: list[Finding]) -> dict[str, Severity]:
    return {finding.code: finding.severity for finding in findings}


def of_service(**conducting: Any) -> dict[str, Severity]:
    return codes(diagnose(replace(WELL, conducting=replace(WELL.conducting, **conducting))))


def of_store(**store: Any) -> list[Finding]:
    return diagnose(replace(WELL, store=replace(EMPTY, **store)))


def study(state: StudyState = StudyState.RUNNING, *, spec: dict[str, Any] | None = None, **fields: Any) -> Study:
    made = complete_spec(**(spec or {}))
    return Study(
        **{
            "id": "a" * 16,
            "name": "a study",
            "workload": made.workload,
            "optimizer": made.optimizer.name,
            "state": state,
            "wanted": "run",
            "created_at": datetime.fromtimestamp(NOW - 100, UTC),
            "spec": made,
            **fields,
        }
    )


def job(trial: int, *, attempts: int = 1, heard: float = 1.0, started: float = 100.0) -> RunningJob:
    return RunningJob(trial, attempts, "node:12", NOW - started, NOW - heard)


def of_study(
    found: Study, work: StudyFacts = RUNNING, service: ServiceFacts = WELL, *jobs: RunningJob
) -> list[Finding]:
    return diagnose_study(found, replace(work, jobs=jobs) if jobs else work, service)


def test_a_service_with_nothing_to_do_is_well() -> None:
    assert codes(diagnose(WELL)) == {"idle": Severity.NOTE}


def test_every_finding_says_what_why_and_what_to_do() -> None:
    full = replace(EMPTY, studies={StudyState.RUNNING: 2}, waiting_studies=1, waiting=["b"], last_event_at=NOW + 60)
    crashed = {"a": Crashed(2, "OutOfMemory: killed", 4.0)}
    facts = ServiceFacts(
        NOW,
        replace(WELL.conducting, leads=False, crashes=crashed),
        replace(full, conductor=Lease("gone:9", 3, 1.0)),
        disks=[Disk("store", "/data", 1, 10**12), Disk("Ray", "/tmp/r", 4 * 10**10, 10**12)],
    )

    findings = diagnose(facts)

    assert [finding.severity for finding in findings] == sorted(
        (finding.severity for finding in findings), key=list(Severity).index
    )
    assert {"disk-full", "disk-low", "clock-set-back", "runner-crashed", "waits-for-a-place"} <= codes(findings).keys()
    for finding in findings:
        assert all((finding.seen, finding.why, finding.remedy))
        assert "\n" not in finding.seen


@pytest.mark.parametrize(
    ("conducting", "code"),
    [
        ({"alive": False}, "conductor-ended"),
        ({"problem": "cannot reach Ray at x:1: refused", "ails": "cluster"}, "ray-unreachable"),
        ({"problem": "Ray at x:1 runs Ray 2.9.0", "ails": "versions"}, "ray-version"),
        ({"problem": "the store cannot be used: disk full", "ails": "store"}, "store-unwritable"),
        ({"problem": "what", "ails": "conductor"}, "conductor-problem"),
        ({"tick_seconds": 60.0}, "conductor-stuck"),
    ],
)
def test_a_conductor_that_cannot_work_is_a_problem(conducting: dict[str, Any], code: str) -> None:
    assert of_service(**conducting)[code] is Severity.PROBLEM


@pytest.mark.parametrize(
    ("lease", "code"),
    [
        (None, "nobody-conducts"),
        (Lease("there:2", 1, -3.0), "nobody-conducts"),
        (Lease("there:2", 1, 1.5), "conductor-lease-of-the-dead"),
        (Lease("there:2", 1, 5.0), "another-service-conducts"),
    ],
)
def test_who_conducts_instead_is_told(lease: Lease | None, code: str) -> None:
    facts = replace(WELL, conducting=replace(WELL.conducting, leads=False), store=replace(EMPTY, conductor=lease))

    assert code in codes(diagnose(facts))


def test_a_store_that_cannot_be_read_is_a_problem() -> None:
    findings = diagnose(replace(WELL, store=None, store_problem="connection refused"))

    assert "connection refused" in findings[0].seen
    assert findings[0].code == "store-unreadable"


def test_who_waits_for_a_place_is_told_who_has_them() -> None:
    running = [RunningStudy(name, name, 0.1, {}, 1.0) for name in ("one", "two")]
    full = replace(EMPTY, studies={StudyState.RUNNING: 2}, running=running, waiting=["x", "a" * 16], waiting_studies=2)
    service = replace(WELL, store=full)

    (of_all,) = [finding for finding in diagnose(service) if finding.code == "waits-for-a-place"]
    (of_one,) = list(of_study(study(StudyState.QUEUED), service=service))
    (confined,) = list(of_study(study(StudyState.QUEUED), service=replace(service, confined=True)))

    assert "2 of 2 are taken by one, two" in of_all.seen
    assert "behind 1 others" in of_one.seen
    assert "2 of 2 are taken by other studies" in confined.seen


def test_a_study_that_is_not_started_though_it_could_is_suspicious() -> None:
    waiting = {"waiting": ["x"], "waiting_studies": 1}

    assert "not-started" in codes(of_store(**waiting, waiting_since=NOW - 60))
    assert "not-started" not in codes(of_store(**waiting, waiting_since=NOW - 1))


def test_what_keeps_the_service_from_working_is_told_of_its_studies() -> None:
    away = replace(WELL, conducting=replace(WELL.conducting, problem="cannot reach Ray", ails="cluster"))

    assert of_study(study(), service=away)[0].code == "ray-unreachable"
    assert "ray-unreachable" not in codes(of_study(study(StudyState.COMPLETED), service=away))


def test_a_study_that_gets_on_has_no_findings() -> None:
    assert of_study(study(), RUNNING, WELL, job(0)) == []


def test_a_trial_larger_than_the_cluster_waits_for_ever() -> None:
    found = study(spec={"resources": Resources(cpus=64, gpus=1)})

    findings = of_study(found, RUNNING, WELL, job(0, attempts=0))

    assert [f.seen for f in findings if f.code == "needs-more-than-there-is"] == [
        "a trial needs 64 cpus; the cluster has 4",
        "a trial needs 1 gpus; the cluster has 0",
    ]


def test_trials_that_wait_for_workers_are_told_with_what_they_need() -> None:
    busy = replace(WELL, conducting=replace(WELL.conducting, cluster=replace(CLUSTER, free_cpus=0.5)))

    (finding,) = of_study(study(), RUNNING, busy, job(0, attempts=0, started=40), job(1, attempts=0, started=20))

    assert finding.code == "waits-for-workers"
    assert "2 trials wait for a worker, 40 s the longest, each needs 1 cpus" in finding.seen
    assert "0.5 of 4 processors are free" in finding.seen


@pytest.mark.parametrize(("count", "severity"), [(1, Severity.WARNING), (3, Severity.PROBLEM)])
def test_a_runner_that_dies_is_told_with_its_last_reason(count: int, severity: Severity) -> None:
    crashing = replace(WELL, conducting=replace(WELL.conducting, crashes={"a" * 16: Crashed(count, "OOM", 3.0)}))

    (finding,) = of_study(study(), RUNNING, crashing, job(0))

    assert (finding.code, finding.severity) == ("runner-crashed", severity)
    assert f"died {count} times" in finding.seen
    assert "OOM" in finding.seen


@pytest.mark.parametrize(("left", "code"), [(-1.0, "no-runner"), (4.0, "lease-of-the-dead")])
def test_a_study_whose_runner_is_gone_is_told_when_another_one_takes_over(left: float, code: str) -> None:
    work = replace(RUNNING, lease=Lease("there:2", 4, left))

    assert code in codes(of_study(study(), work, WELL, job(0)))


def test_trials_that_fail_are_told_with_the_commonest_problem() -> None:
    work = replace(RUNNING, problems=[("ValueError: no such file", 7), ("KeyError", 1)])
    some = study(counts={TrialState.FAILED: 8, TrialState.COMPLETED: 4, TrialState.RUNNING: 1})
    all_of_them = study(StudyState.FAILED, counts={TrialState.FAILED: 8}, reason="every trial failed")

    (warning,) = [finding for finding in of_study(some, work, WELL, job(0)) if finding.code == "trials-fail"]
    (problem,) = [finding for finding in of_study(all_of_them, work) if finding.code == "trials-fail"]

    assert (warning.severity, problem.severity) == (Severity.WARNING, Severity.PROBLEM)
    assert warning.seen == "8 of 12 trials failed, 7 of them with: ValueError: no such file"
    assert problem.seen.startswith("all of 8 trials failed")


@pytest.mark.parametrize("reference", ["nowhere_here:Own", "math:Own", "nowhere-here"])
def test_a_worker_without_the_workload_is_told_with_what_to_install(reference: str) -> None:
    with pytest.raises(WorkloadError) as raised:
        load(reference)
    problem = f"WorkloadError: {raised.value}"
    work = replace(RUNNING, problems=[(problem, 5)])

    (found,) = [
        finding
        for finding in of_study(study(counts={TrialState.FAILED: 5}), work, WELL, job(0))
        if finding.code == "workload-not-on-workers"
    ]

    assert problem in found.seen
    assert "on every node" in found.remedy


@pytest.mark.parametrize(("state", "wanted", "code"), [("paused", "pause", "pause"), ("running", "cancel", "cancel")])
def test_a_study_that_somebody_stopped_is_no_problem(state: str, wanted: str, code: str) -> None:
    assert codes(of_study(study(StudyState(state), wanted=wanted))) == {code: Severity.NOTE}


def test_a_trial_that_has_long_been_silent_is_suspicious() -> None:
    found = study(spec={"limits": TrialLimits(silent_seconds=300), "parallel": 2})

    findings = of_study(found, RUNNING, WELL, job(0, heard=200), job(1, heard=100))

    assert [finding.seen for finding in findings] == ["trial 0 on node:12 has reported nothing for 200 s"]


def test_a_client_that_only_says_that_it_is_alive_has_not_lost_its_job() -> None:
    found = study(spec={"limits": TrialLimits(lease_seconds=90)}).model_copy(update={"workload": "external"})

    (finding,) = of_study(found, RUNNING, WELL, job(0, heard=200))

    assert finding.code == "trial-silent"
    assert finding.why.startswith("its client may be at work all the same")
    assert "90 s (limits.lease_seconds)" in finding.why


def test_a_rung_that_fills_is_why_places_stay_empty() -> None:
    assert codes(of_study(study(spec={"parallel": 4}), RUNNING, WELL, job(0))) == {"optimizer-waits": Severity.NOTE}


def test_a_budget_that_is_nearly_used_up_is_told() -> None:
    last = study(counts={TrialState.COMPLETED: 3, TrialState.RUNNING: 1})
    nearly = study(spec={"parallel": 1}, progress=0.95)

    assert codes(of_study(last, RUNNING, WELL, job(3))) == {"last-trials": Severity.NOTE}
    assert codes(of_study(nearly, RUNNING, WELL, job(3))) == {"budget-nearly-used": Severity.NOTE}


def test_a_study_that_nobody_asks_is_told() -> None:
    found = study().model_copy(update={"workload": "external"})

    assert codes(of_study(found)) == {"nobody-asks": Severity.WARNING}


def test_studies_wait_in_the_order_in_which_they_are_to_start(service: Service) -> None:
    low, normal, high = (service.create(priority=priority)["id"] for priority in ("low", "normal", "high"))

    assert overview.read(service.repository.engine).waiting == [high, normal, low]


def test_the_service_diagnoses_itself(service: Service) -> None:
    service.services.conductor.problem = "cannot reach Ray"

    answer = service.client.get("/v1/diagnosis").json()

    assert answer["well"] is False
    assert [finding["severity"] for finding in answer["findings"]][:1] == ["problem"]
    assert any("cannot reach Ray" in finding["seen"] for finding in answer["findings"])


@sqlite_only
def test_a_service_without_its_store_still_says_so(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    def fail(*_: Any) -> Any:
        raise OperationalError("SELECT secret", {}, Exception("gone"))

    monkeypatch.setattr(overview, "read", fail)

    answer = service.client.get("/v1/diagnosis")

    assert answer.status_code == 200
    assert "gone" in answer.text
    assert "SELECT" not in answer.text


def test_a_study_is_diagnosed_from_what_its_runner_wrote(service: Service) -> None:
    study_id = service.create(budget={"trials": 9})["id"]
    runner = service.runner(study_id)
    runner.at = time.time() - 1_000
    runner.commit(*[start(n, n) for n in range(5)], attempts=[AttemptStarted(n, 1, "node:1") for n in range(5)])
    runner.counts = {TrialState.FAILED: 3, TrialState.RUNNING: 2}
    runner.commit(
        report(4, 4, 1.0),
        *[
            ended(n, n, TrialState.FAILED, JobEnd.FAILED, problem="ValueError: a" if n else "KeyError")
            for n in range(3)
        ],
    )

    work = overview.of_study(service.repository.engine, study_id)
    answer = service.client.get(f"/v1/studies/{study_id}/diagnosis").json()

    assert [(job.trial, job.attempts, job.worker) for job in work.jobs] == [(3, 1, "node:1"), (4, 1, "node:1")]
    assert work.jobs[1].heard_at > work.jobs[0].heard_at
    assert work.problems == [("ValueError: a", 2), ("KeyError", 1)]
    assert answer["study"] == study_id
    found = {finding["code"]: finding for finding in answer["findings"]}
    assert "2 of them with: ValueError: a" in found["trials-fail"]["seen"]
    assert "trial-silent" in found
    assert all(finding["study"] in (study_id, None) for finding in answer["findings"])


def test_a_study_that_does_not_exist_has_no_diagnosis(service: Service) -> None:
    assert service.client.get(f"/v1/studies/{'0' * 16}/diagnosis").status_code == 404
