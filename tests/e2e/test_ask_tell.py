"""Trials that run elsewhere, on real runners: clients and runners are killed, and nothing is lost or counted twice."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.service_process import ServiceProcess, kill, runner_pids, wait_until
from tunewright import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CLIENT = """
    import sys, time
    from tunewright import Client

    with Client(sys.argv[1]) as client:
        for job in client.jobs(sys.argv[2], worker=sys.argv[3]):
            with job:
                for step in job.steps():
                    time.sleep(0.02)
                    job.report(step, {"loss": job.config["x"] + 1 / step})
"""


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def create(client: Client, **fields: Any) -> str:
    return client.submit(
        {
            "name": "elsewhere",
            "workload": "external",
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "objectives": [{"metric": "loss"}],
            "fidelity": {"name": "steps", "max": 9},
            "optimizer": "random",
            "budget": {"trials": 12},
            "parallel": 4,
            **fields,
        }
    ).id


def start_client(service: ServiceProcess, study: str, name: str) -> subprocess.Popen[bytes]:
    program = textwrap.dedent(CLIENT)
    return subprocess.Popen([sys.executable, "-c", program, service.url, study, name], cwd=Path(__file__).parents[2])


def runner_pid(service: ServiceProcess) -> int:
    return runner_pids(service.pid)[0]


def assert_whole(service: ServiceProcess, study: str, trials: int) -> None:
    """Every trial is complete and has every report once."""
    assert service.wait_for_state(study, "completed")["counts"] == {"completed": trials}
    for trial in service.trials(study):
        assert [report["resource"] for report in service.reports(trial["id"])] == list(range(1, 10)), trial["id"]


def in_the_middle(service: ServiceProcess, study: str) -> None:
    wait_until(lambda: service.study(study)["counts"].get("completed", 0) >= 2, 60, "the middle of the study")


def test_two_clients_share_a_study_whose_runner_is_killed(service: ServiceProcess, client: Client) -> None:
    study = create(client)
    clients = [start_client(service, study, name) for name in ("one", "two")]
    in_the_middle(service, study)

    kill(runner_pid(service))

    assert [process.wait(timeout=120) for process in clients] == [0, 0]
    assert_whole(service, study, 12)
    jobs = [job for trial in service.trials(study) for job in service.trial(trial["id"])["jobs"]]
    assert {job["worker"] for job in jobs} == {"one", "two"}
    assert {job["attempts"] for job in jobs} == {1}, "a job outlives the runner that gave it out"


def test_the_job_of_a_killed_client_is_given_out_again(service: ServiceProcess, client: Client) -> None:
    study = create(client, limits={"lease_seconds": 2}, budget={"trials": 4}, parallel=2)
    doomed = start_client(service, study, "doomed")
    wait_until(lambda: service.trials(study) and service.trials(study)[-1]["resource"] > 0, 60, "the first report")
    doomed.kill()
    doomed.wait()

    heir = start_client(service, study, "heir")

    assert heir.wait(timeout=120) == 0
    assert_whole(service, study, 4)
    jobs = [job for trial in service.trials(study) for job in service.trial(trial["id"])["jobs"]]
    assert {job["worker"] for job in jobs if job["attempts"] == 2} == {"heir"}


def test_everything_is_killed_and_a_client_goes_on(service: ServiceProcess, client: Client) -> None:
    study = create(client)
    working = start_client(service, study, "patient")
    in_the_middle(service, study)

    service.kill_everything()
    service.start()

    assert working.wait(timeout=120) == 0
    assert_whole(service, study, 12)


def test_many_clients_at_once_see_no_error(service: ServiceProcess, client: Client) -> None:
    study = create(client, budget={"trials": 200}, parallel=32, fidelity=None)
    trials: list[str] = []

    def work() -> None:
        with Client(service.url) as own:
            for job in own.jobs(study):
                trials.append(job.trial)
                job.report(job.end, {"loss": job.config["x"]})

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert len(trials) == len(set(trials)) == 200
    assert service.wait_for_state(study, "completed")["counts"] == {"completed": 200}
    assert f"{os.getpid()}" in service.trial(trials[0])["jobs"][0]["worker"]


# Last: it leaves jobs that nobody finishes, for which a cancelled study waits its thirty seconds.
def test_requests_that_are_repeated_over_the_runners_death_have_the_same_answers(
    service: ServiceProcess, client: Client
) -> None:
    study = create(client, parallel=8)

    def post(path: str, body: Any, key: str | None = None) -> httpx.Response:
        return service.client.post(path, json=body, headers={} if key is None else {"Idempotency-Key": key})

    asked = post(f"/v1/studies/{study}/jobs:ask", {"count": 2, "wait": 10}, key="k").json()["jobs"]
    end = {"reports": [{"resource": 9, "metrics": {"loss": 0.5}}], "ask": {}}
    first = post(f"/v1/jobs/{asked[0]['id']}:finish", end)
    kill(runner_pid(service))
    finished = post(f"/v1/jobs/{asked[0]['id']}:finish", end)
    again = post(f"/v1/studies/{study}/jobs:ask", {"count": 2, "wait": 20}, key="k")
    refused = post(f"/v1/jobs/{asked[0]['id']}:finish", {"state": "failed", "problem": "no"})

    assert first.json()["ended"] is True
    assert finished.json() == first.json()
    assert again.json()["jobs"] == asked
    assert refused.status_code == 409
