"""Ask and tell over REST, on real stores; the runners are threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from service import asking
from service.desks import CLOSED
from tests.service.conftest import Service, sqlite_only
from tests.service.desk_runners import DeskRunner, DeskRunners
from workers.ask_tell import Answer, Ask, Given, Word

SPACE = {"x": {"type": "float", "low": 0, "high": 1}}
STUDY: dict[str, Any] = {
    "name": "elsewhere",
    "workload": "external",
    "space": SPACE,
    "objectives": [{"metric": "loss"}],
    "optimizer": "random",
    "budget": {"trials": 3},
    "parallel": 4,
}


class Elsewhere:
    """A study, its runner, and the requests that a client makes."""

    def __init__(self, service: Service, runners: DeskRunners, **fields: Any) -> None:
        self.service = service
        self._runners = runners
        answer = service.client.post("/v1/studies", json={**STUDY, **fields})
        assert answer.status_code == 201, answer.text
        self.id: str = answer.json()["id"]

    def start(self) -> DeskRunner:
        return self._runners.start(self.service.settings.store_url, self.id)

    def post(self, path: str, body: Any = None, key: str | None = None) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.service.client.post(f"/v1{path}", json=body, headers=headers)

    def ask(self, body: Any = None, key: str | None = None) -> dict[str, Any]:
        answer = self.post(f"/studies/{self.id}/jobs:ask", body, key)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def job(self, **body: Any) -> dict[str, Any]:
        (job,) = self.ask(body)["jobs"]
        found: dict[str, Any] = job
        return found

    def finish(self, job: dict[str, Any], loss: float = 0.5, **body: Any) -> Any:
        reports = [{"resource": job["end"], "metrics": {"loss": loss}}]
        return self.post(f"/jobs/{job['id']}:finish", {"reports": reports, **body})

    def reports(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.service.client.get(f"/v1/trials/{job['trial']}/reports").json()["items"]
        return found

    def trial(self, job: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.service.client.get(f"/v1/trials/{job['trial']}").json()
        return found

    def study(self) -> dict[str, Any]:
        found: dict[str, Any] = self.service.client.get(f"/v1/studies/{self.id}").json()
        return found


Create = Callable[..., Elsewhere]


@pytest.fixture
def create(service: Service, desk_runners: DeskRunners) -> Create:
    def made(**fields: Any) -> Elsewhere:
        study = Elsewhere(service, desk_runners, **fields)
        study.start()
        return study

    return made


@pytest.fixture(scope="module", params=[False, True], ids=["under way", "over"])
def shared_job(
    request: pytest.FixtureRequest, shared_service: Service, shared_desk_runners: DeskRunners
) -> tuple[Elsewhere, dict[str, Any]]:
    """A study and a job of it that somebody has, or has finished, to be left as they are."""
    fields = {"fidelity": {"name": "epochs", "max": 3}, "limits": {"lease_seconds": 3600}}
    study = Elsewhere(shared_service, shared_desk_runners, **fields, budget={"trials": 1 if request.param else 3})
    study.start()
    job = study.job()
    if request.param:
        study.finish(job)
        assert study.ask({"wait": 20})["over"]
    return study, job


under_way = pytest.mark.parametrize("shared_job", [False], indirect=True, ids=["under way"])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.0)


def test_a_study_is_tuned_by_a_client(create: Create) -> None:
    study = create(fidelity={"name": "epochs", "max": 3})
    asked = study.ask({"worker": "gpu-7"})
    while asked["jobs"]:
        (job,) = asked["jobs"]
        assert (job["start"], job["end"], job["study"]) == (0, 3, study.id)
        told = study.post(f"/jobs/{job['id']}/reports", {"reports": [{"resource": 1, "metrics": {"loss": 0.9}}]})
        assert told.json() == {"answer": "continue"}
        finished = study.finish(job, ask={"worker": "gpu-7"}).json()
        assert (finished["ended"], finished["reason"]) == (True, None)
        asked = finished["next"]

    assert (asked["over"], asked["state"]) == (True, "completed")
    assert study.study()["counts"] == {"completed": 3}
    assert [report["resource"] for report in study.reports(job)] == [1, 3]
    assert [found["worker"] for found in study.trial(job)["jobs"]] == ["gpu-7"]


def test_without_a_fidelity_a_trial_is_one_step(create: Create) -> None:
    job = create().job()

    assert (job["start"], job["end"]) == (0, 1)


def test_a_study_that_is_over_has_no_more_jobs(create: Create) -> None:
    study = create(budget={"trials": 1})
    study.finish(study.job())

    asked = study.ask({"wait": 10})

    assert (asked["jobs"], asked["over"], asked["state"]) == ([], True, "completed")


def test_several_jobs_are_had_in_one_request(create: Create) -> None:
    study = create(budget={"trials": 10})

    jobs = study.ask({"count": 3})["jobs"]

    assert len({job["id"] for job in jobs}) == 3


def test_why_there_is_no_job_is_said(create: Create) -> None:
    study = create(parallel=1)
    study.job()

    asked = study.ask()

    assert (asked["jobs"], asked["over"], asked["state"]) == ([], False, "running")
    assert "1 at a time (parallel)" in asked["reason"]


def test_who_waits_gets_the_job_that_comes_free(create: Create) -> None:
    study = create(parallel=1)
    job = study.job()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(study.ask, {"wait": 20})
        study.finish(job)
        found = waiting.result(timeout=20)

    assert len(found["jobs"]) == 1


def test_an_ask_that_is_repeated_with_its_key_gives_the_same_jobs_also_after_the_runners_death(create: Create) -> None:
    study = create()
    first = study.ask({"count": 2, "worker": "a"}, key="k")

    again = study.ask({"count": 2, "worker": "a", "wait": 3}, key="k")
    study.start()
    after = study.ask({"count": 2, "worker": "a"}, key="k")
    other = study.post(f"/studies/{study.id}/jobs:ask", {"count": 1, "worker": "a"}, key="k")

    assert first == again == after
    assert other.status_code == 409
    assert 'Idempotency-Key "k" was used for another request' in other.json()["detail"]


@pytest.mark.parametrize("runner", ["the same", "its successor"])
def test_a_finish_that_is_repeated_has_the_same_answer_and_brings_the_same_job(create: Create, runner: str) -> None:
    study = create()
    job = study.job()

    first = study.finish(job, ask={})
    if runner == "its successor":
        study.start()
    again = study.finish(job, ask={})

    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert len(study.reports(job)) == 1
    assert study.study()["counts"] == {"completed": 1, "running": 1}


@pytest.mark.parametrize("over", [False, True])
def test_a_finish_with_another_body_is_a_conflict(create: Create, over: bool) -> None:
    study = create(budget={"trials": 1 if over else 3})
    job = study.job()
    study.finish(job)
    if over:
        assert study.ask({"wait": 20})["over"]

    again = study.finish(job)
    other = study.post(f"/jobs/{job['id']}:finish", {"state": "failed", "problem": "no"})

    assert again.json()["ended"] is True
    assert other.status_code == 409
    assert "was finished before (completed), and with something else" in other.json()["detail"]
    assert study.trial(job)["state"] == "completed"


def test_reports_that_are_repeated_count_once(create: Create) -> None:
    study = create(fidelity={"name": "epochs", "max": 3})
    job = study.job()
    body = {"reports": [{"resource": 1, "metrics": {"loss": 0.9}}, {"resource": 2, "metrics": {"loss": 0.8}}]}

    answers = [study.post(f"/jobs/{job['id']}/reports", body).json() for _ in range(2)]

    assert answers == [{"answer": "continue"}] * 2
    assert [report["resource"] for report in study.reports(job)] == [1, 2]


def test_a_failed_job_is_shown_with_its_problem(create: Create) -> None:
    study = create()
    job = study.job()

    body = {"state": "failed", "problem": "ValueError: no", "traceback": "Traceback ..."}
    study.post(f"/jobs/{job['id']}:finish", body)

    trial = study.trial(job)
    assert (trial["state"], trial["problem"]) == ("failed", "ValueError: no")
    assert trial["jobs"][0]["traceback"] == "Traceback ..."


@pytest.mark.parametrize(
    ("report", "field"),
    [
        ({"resource": 4, "metrics": {"loss": 1}}, "reports.0.resource"),
        ({"resource": 0, "metrics": {"loss": 1}}, "reports.0.resource"),
        ({"resource": -1, "metrics": {"loss": 1}}, "reports.0.resource"),
        ({"resource": "1", "metrics": {"loss": 1}}, "reports.0.resource"),
        ({"resource": 1, "metrics": {"los": 1}}, "reports.0.metrics"),
        ({"resource": 1, "metrics": {}}, "reports.0.metrics"),
        ({"resource": 1, "metrics": {"loss": None}}, "reports.0.metrics.loss"),
        ({"resource": 1, "metrics": {"loss": "1"}}, "reports.0.metrics.loss"),
        ({"resource": 1, "metrics": {"loss": True}}, "reports.0.metrics.loss"),
        ({"resource": 1, "metrics": {"loss": {"deep": 1}}}, "reports.0.metrics.loss"),
        ({"resource": 1}, "reports.0.metrics"),
        ({"resource": 1, "metrics": {"loss": 1}, "step": 2}, "reports.0.step"),
    ],
)
def test_a_wrong_report_is_refused_and_named(
    shared_job: tuple[Elsewhere, dict[str, Any]], report: Any, field: str
) -> None:
    study, job = shared_job
    before = study.reports(job)

    answer = study.post(f"/jobs/{job['id']}/reports", {"reports": [report]})

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert study.reports(job) == before
    assert len(before) == (study.study()["state"] == "completed")


@under_way
@pytest.mark.parametrize(
    "text",
    [
        '{"reports": [{"resource": 1, "metrics": {"loss": NaN}}]}',
        '{"reports": [{"resource": 1, "metrics": {"loss": 1e999}}]}',
        '{"reports": [{"resource": 1, "metrics": {"loss": 123456789012345678901234567890}}]}',
        '{"reports": [{"resource": 1, "metrics": {"loss": ' + "[" * 100 + "1" + "]" * 100 + "}}]}",
        '{"reports": []}',
        '{"reports": [{"resource": 1, "metrics": {"loss": 1, "loss": 2}}]}',
    ],
)
def test_a_body_that_is_no_strict_json_is_refused(shared_job: tuple[Elsewhere, dict[str, Any]], text: str) -> None:
    study, job = shared_job

    answer = study.service.client.post(
        f"/v1/jobs/{job['id']}/reports", content=text, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 422
    assert study.reports(job) == []


@under_way
@pytest.mark.parametrize("body", [{"count": 0}, {"count": 1e3}, {"count": 101}, {"wait": -1}, {"worker": ""}, {"x": 1}])
def test_a_wrong_ask_is_refused(shared_job: tuple[Elsewhere, dict[str, Any]], body: Any) -> None:
    study, _ = shared_job

    assert study.post(f"/studies/{study.id}/jobs:ask", body).status_code == 422
    assert study.post(f"/studies/{study.id}/jobs:ask", {"worker": "a\n"}).status_code == 422


def test_a_job_that_was_never_given_out_does_not_exist(create: Create) -> None:
    study = create()
    study.job()
    strangers = (f"{study.id}-j1a1", f"{study.id}-j0a2", "0123456789abcdef-j0a1", "nonsense", f"{study.id}-j01a1")

    for stranger in strangers:
        answers = [
            study.post(f"/jobs/{stranger}:heartbeat"),
            study.post(f"/jobs/{stranger}:finish", {}),
            study.post(f"/jobs/{stranger}/reports", {"reports": [{"resource": 1, "metrics": {"loss": 1}}]}),
        ]
        assert [answer.status_code for answer in answers] == [404] * 3, stranger


def test_a_study_on_the_cluster_gives_no_jobs_to_clients(service: Service) -> None:
    study = service.create()["id"]

    answer = service.client.post(f"/v1/studies/{study}/jobs:ask")

    assert answer.status_code == 409
    assert "workload: external" in answer.json()["detail"]
    assert service.client.post("/v1/studies/0123456789abcdef/jobs:ask").status_code == 404


def test_a_study_without_a_runner_is_waited_for_and_then_unavailable(
    service: Service, desk_runners: DeskRunners, impatient: None
) -> None:
    study = Elsewhere(service, desk_runners)

    answer = study.post(f"/studies/{study.id}/jobs:ask")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert "waits for its turn" in answer.json()["detail"]


def test_a_runner_that_is_replaced_meanwhile_is_found(create: Create) -> None:
    study = create()
    job = study.job()
    study.start()

    assert study.post(f"/jobs/{job['id']}:heartbeat").json() == {"answer": "continue"}
    assert study.finish(job).json()["ended"] is True


def test_who_has_waited_long_for_a_job_is_patient_with_a_runner_that_is_replaced(
    create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create()
    desks = study.service.services.desks
    say, now = desks.say, [0.0]
    waits: list[float] = []
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: now[0]))

    async def dies_meanwhile(of: str, word: Word) -> Answer:
        assert isinstance(word, Ask)
        waits.append(word.wait)
        if len(waits) == 1:
            return Given()
        if len(waits) == 2:
            now[0] += 2 * asking.PATIENCE_SECONDS
            return CLOSED
        return await say(of, word)

    monkeypatch.setattr(desks, "say", dies_meanwhile)

    asked = study.ask({"wait": 30})

    assert len(asked["jobs"]) == 1
    assert waits == [0.0, 30.0, 20.0]


def test_a_late_result_of_a_study_that_is_over_is_kept_and_shown(create: Create) -> None:
    study = create(budget={"trials": 5, "target": 0.2}, fidelity={"name": "epochs", "max": 3})
    best, late = study.ask({"count": 2})["jobs"]
    study.finish(best, loss=0.1)
    heard = study.post(f"/jobs/{late['id']}:heartbeat").json()
    stopped = study.post(f"/jobs/{late['id']}:finish", {"state": "stopped"}).json()
    assert study.ask({"wait": 20})["over"]

    told = study.post(f"/jobs/{late['id']}/reports", {"reports": [{"resource": 2, "metrics": {"loss": 0.3}}]})
    again = study.post(f"/jobs/{late['id']}/reports", {"reports": [{"resource": 2, "metrics": {"loss": 0.3}}]})

    assert heard in ({"answer": "stop"}, {"answer": "continue"})
    assert stopped["ended"] is True
    assert told.json() == again.json() == {"answer": "abandon"}
    assert [(report["resource"], report["late"]) for report in study.reports(late)] == [(2, True)]
    assert study.service.client.post(f"/v1/studies/{study.id}/extend", json={"budget": {"trials": 9}}).is_success
    study.start()
    assert len(study.ask({"count": 2})["jobs"]) == 2, "the next runner reads what was kept"


def test_a_paused_study_gives_no_jobs_and_keeps_what_is_told(create: Create) -> None:
    study = create(limits={"lease_seconds": 1}, parallel=1)
    job = study.job()
    study.post(f"/studies/{study.id}/pause")

    while study.study()["state"] != "paused":
        assert study.ask({"wait": 0.05})["over"] is False
    asked = study.ask()
    finished = study.finish(job)

    assert (asked["jobs"], asked["over"], asked["state"]) == ([], False, "paused")
    assert asked["reason"] == "the study is paused"
    assert finished.json()["ended"] is False
    assert [(report["resource"], report["late"]) for report in study.reports(job)] == [(1, False)]
    study.post(f"/studies/{study.id}/resume")
    study.start()
    assert study.finish(job).json()["ended"] is True


def test_who_waits_for_a_study_that_winds_down_does_not_ask_it_all_the_time(
    create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create(parallel=2)
    study.job()
    study.post(f"/studies/{study.id}/pause")
    while study.ask()["reason"] != "the study is paused":
        pass
    desks, said = study.service.services.desks, 0
    say = desks.say

    async def counted(of: str, word: Word) -> Answer:
        nonlocal said
        said += 1
        return await say(of, word)

    monkeypatch.setattr(desks, "say", counted)

    asked = study.ask({"wait": 2})

    assert (asked["jobs"], asked["state"], asked["over"]) == ([], "running", False)
    assert said < 10


def test_clients_at_the_same_time_get_jobs_of_their_own(create: Create) -> None:
    study = create(budget={"trials": 40}, parallel=8)
    barrier = threading.Barrier(8)
    seen: list[str] = []

    def work() -> None:
        barrier.wait()
        asked = study.ask({"wait": 30})
        while not asked["over"]:
            for job in asked["jobs"]:
                seen.append(job["id"])
            bodies = [study.finish(job, ask={"wait": 30}) for job in asked["jobs"]]
            assert [body.status_code for body in bodies] == [200] * len(bodies)
            asked = bodies[0].json()["next"] if bodies else study.ask({"wait": 30})

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result()

    assert len(seen) == len(set(seen)) == 40
    assert study.study()["counts"] == {"completed": 40}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"space": None}, "space"),
        ({"objectives": []}, "objectives"),
        ({"resources": {"cpus": 2}}, "resources"),
        ({"data": {"rows": 5}}, "data"),
        ({"limits": {"lease_seconds": 0}}, "limits.lease_seconds"),
        ({"optimizer": "nonsense"}, "optimizer"),
    ],
)
def test_a_wrong_study_is_refused(shared_service: Service, fields: dict[str, Any], named: str) -> None:
    answer = shared_service.client.post("/v1/studies", json={**STUDY, **fields})

    assert answer.status_code == 422
    assert any(named in f"{error['field']} {error['message']}" for error in answer.json()["errors"])


def test_the_page_of_such_a_study_says_what_it_waits_for(create: Create) -> None:
    study = create()

    page = study.service.client.get(f"/studies/{study.id}")

    assert page.status_code == 200
    assert "starts as soon as somebody asks for a job" in page.text


@sqlite_only
def test_the_openapi_document_names_every_request(shared_service: Service) -> None:
    paths = shared_service.client.get("/openapi.json").json()["paths"]

    for path in ("/v1/studies/{study_id}/jobs:ask", "/v1/jobs/{job_id}/reports", "/v1/jobs/{job_id}:finish"):
        assert "post" in paths[path]
    assert "requestBody" not in paths["/v1/jobs/{job_id}:heartbeat"]["post"]
