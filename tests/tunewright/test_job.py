"""Jobs through the clients and the command line, at a live service whose runners are threads."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tests.tunewright.live_service import LiveService
from tunewright import ApiError, AsyncClient, Client, ReportError, StudyOver, TrialStopped, _connection
from tunewright.cli import app
from tunewright.views import Study

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch, service: LiveService) -> None:
    monkeypatch.setattr(_connection, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("TUNEWRIGHT_URL", service.url)


def create(service: LiveService, client: Client, **fields: Any) -> Study:
    """A study with a runner."""
    study = client.submit(
        {
            "name": "elsewhere",
            "workload": "external",
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "objectives": [{"metric": "loss"}],
            "fidelity": {"name": "epochs", "max": 4},
            "optimizer": "random",
            "budget": {"trials": 3},
            "parallel": 4,
            **fields,
        }
    )
    service.desk_runners.start(service.settings.store_url, study.id)
    return study


def test_a_training_loop_is_tuned_in_five_lines(service: LiveService, client: Client) -> None:
    study = create(service, client)

    for job in client.jobs(study.id):
        with job:
            for epoch in job.steps():
                job.report(epoch, {"loss": job.config["x"] + 1 / epoch})

    found = client.wait(study.id, timeout=20)
    assert found.counts == {"completed": 3}
    assert [measured.resource for measured in client.reports(f"{study.id}-0")] == [1, 2, 3, 4]


def test_each_pair_of_a_loop_is_one_round_trip(service: LiveService) -> None:
    seen: list[str] = []

    class Counting(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request.url.path.rpartition(":")[2])
            return super().handle_request(request)

    with Client(service.url, transport=Counting()) as client:
        study = create(service, client, fidelity=None)
        seen.clear()
        for job in client.jobs(study.id):
            job.report(job.end, {"loss": job.config["x"]})

    assert seen == ["ask", "finish", "finish", "finish"]


def test_one_job_is_had_and_finished(service: LiveService, client: Client) -> None:
    study = create(service, client, budget={"trials": 1})

    with client.job(study.id, worker="gpu-7") as job:
        job.report(job.end, {"loss": 0.5})

    assert client.wait(study.id, timeout=20).counts == {"completed": 1}
    assert client.trial(job.trial).jobs[0].worker == "gpu-7"
    with pytest.raises(StudyOver, match="no more jobs"), client.job(study.id):
        pass


def test_an_exception_fails_the_job_and_goes_on(service: LiveService, client: Client) -> None:
    study = create(service, client)

    with pytest.raises(ZeroDivisionError), client.job(study.id) as job:
        job.report(1, {"loss": 1 / 0})

    trial = client.trial(job.trial)
    assert (trial.state, trial.problem) == ("failed", "ZeroDivisionError: division by zero")
    assert "test_job.py" in str(trial.jobs[0].traceback)


def test_an_exception_about_a_file_with_an_odd_name_fails_the_job_too(service: LiveService, client: Client) -> None:
    study = create(service, client)

    with pytest.raises(FileNotFoundError), client.job(study.id) as job:
        raise FileNotFoundError("no file /data/\udcff\0")

    assert client.trial(job.trial).problem == "FileNotFoundError: no file /data/??"


def test_an_interrupted_job_is_given_back(service: LiveService, client: Client) -> None:
    study = create(service, client)

    with pytest.raises(KeyboardInterrupt), client.job(study.id) as job:
        raise KeyboardInterrupt
    with client.job(study.id) as again:
        again.report(4, {"loss": 0.5})

    assert (again.trial, client.trial(job.trial).jobs[0].attempts) == (job.trial, 2)


def test_a_loop_that_is_left_gives_its_job_back(service: LiveService, client: Client) -> None:
    study = create(service, client)

    for job in client.jobs(study.id):
        job.report(1, {"loss": 0.5})
        break
    with client.job(study.id) as again:
        again.report(4, {"loss": 0.5})

    assert again.trial == job.trial


def test_whoever_is_told_to_stop_stops(service: LiveService, client: Client) -> None:
    study = create(service, client, budget={"trials": 5, "target": 0.2})
    asked = client.ask(study.id)
    seen = 0

    with client.job(study.id) as job:
        client.finish(asked.jobs[0].id, reports=[{"resource": 4, "metrics": {"loss": 0.1}}])
        for seen in range(1, 4000):
            job.report(seen / 1000, {"loss": 0.5})

    assert job.stopped
    assert 0 < seen < 3999
    assert client.wait(study.id, timeout=20).counts == {"completed": 1, "stopped": 1}
    with pytest.raises(ReportError, match="is finished"):
        job.report(4, {"loss": 0.5})


def test_a_silent_client_keeps_its_job_by_heartbeats(service: LiveService, client: Client) -> None:
    study = create(service, client, limits={"lease_seconds": 1}, parallel=1, budget={"trials": 1})

    with client.job(study.id) as job:
        # Long enough for the lease to run out three times, were it not renewed.
        assert client.ask(study.id, wait=3.5).jobs == []
        job.report(4, {"loss": 0.5})

    assert client.trial(job.trial).jobs[0].attempts == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.5", None, True, np.ones(2)])
def test_what_is_no_finite_number_is_refused_here(service: LiveService, client: Client, value: Any) -> None:
    study = create(service, client)

    with pytest.raises(ReportError, match='"loss"'), client.job(study.id) as job:
        job.report(1, {"loss": value})


def test_what_the_service_refuses_is_raised(service: LiveService, client: Client) -> None:
    study = create(service, client)

    with pytest.raises(ApiError, match="at most 4"), client.job(study.id) as job:
        job.report(5, {"loss": 0.5})

    assert "at most 4" in str(client.trial(job.trial).problem)


def test_a_wait_ends(service: LiveService, client: Client) -> None:
    study = create(service, client, parallel=1)
    client.ask(study.id)

    with pytest.raises(TimeoutError, match="parallel"), client.job(study.id, wait=0.1):
        pass


def test_a_service_that_is_restarted_loses_nothing(service: LiveService, client: Client) -> None:
    study = create(service, client)

    with client.job(study.id) as job:
        job.report(1, {"loss": 0.5})
        service.stop()
        restart = threading.Timer(0.5, service.start)
        restart.start()
        job.report(2, {"loss": 0.4})
        restart.join()
        service.desk_runners.start(service.settings.store_url, study.id)
        job.report(4, {"loss": 0.3})

    assert [measured.resource for measured in client.reports(job.trial)] == [1, 2, 4]
    assert client.trial(job.trial).state == "completed"


def test_the_async_client_does_the_same(service: LiveService, client: Client) -> None:
    study = create(service, client, limits={"lease_seconds": 1}, parallel=1)

    async def train() -> None:
        async with AsyncClient(service.url) as other:
            async with other.job(study.id) as job:
                # Longer than its lease.
                assert (await other.ask(study.id, wait=1.5)).jobs == []
                await job.report(4, {"loss": 0.5})
            try:
                async with other.job(study.id) as job:
                    raise ValueError("no")
            except ValueError:
                pass
            async for job in other.jobs(study.id):
                async with job:
                    for epoch in job.steps():
                        await job.report(epoch, {"loss": 1 / epoch})

    asyncio.run(train())

    assert client.wait(study.id, timeout=20).counts == {"completed": 2, "failed": 1}
    assert client.trial(f"{study.id}-0").jobs[0].attempts == 1


def test_two_clients_share_a_study(service: LiveService, client: Client) -> None:
    study = create(service, client, budget={"trials": 20}, parallel=2)
    trials: list[str] = []

    def work(name: str) -> None:
        with Client(service.url) as own:
            for job in own.jobs(study.id, worker=name):
                with job:
                    trials.append(job.trial)
                    job.report(job.end, {"loss": job.config["x"]})

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(trials) == len(set(trials)) == 20
    assert {client.trial(trial).jobs[0].worker for trial in trials} == {"one", "two"}


@pytest.mark.slow
def test_waiting_for_a_job_is_no_lost_answer_however_impatient_the_client(service: LiveService, client: Client) -> None:
    study = create(service, client, parallel=1)
    held = client.ask(study.id).jobs[0]

    async def ask() -> int:
        async with AsyncClient(service.url, timeout=2.0) as other:
            return len((await other.ask(study.id, wait=2.5)).jobs)

    with Client(service.url, timeout=2.0) as other:
        assert other.ask(study.id, wait=2.5).jobs == []
        assert asyncio.run(ask()) == 0
        finished = other.finish(held.id, reports=[{"resource": 4, "metrics": {"loss": 0.5}}], ask={"wait": 2.5})

    assert finished.next is not None
    assert len(finished.next.jobs) == 1


def test_the_loop_form_stops_without_an_error(service: LiveService, client: Client) -> None:
    study = create(service, client)
    for job in client.jobs(study.id):
        with job:
            raise TrialStopped("of its own accord")

    assert client.wait(study.id, timeout=20).counts == {"failed": 3}


# The command line


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_shell_asks_and_tells(service: LiveService, client: Client) -> None:
    study = create(service, client, budget={"trials": 1})

    asked = run("ask", study.id, "--worker", "shell", "--json")
    job = json.loads(asked.stdout)["jobs"][0]
    alive = run("tell", job["id"])
    told = run("tell", job["id"], "--report", "1", "loss=0.5", "accuracy=0.9")
    finished = run("tell", job["id"], "--report", "4", "loss=0.25", "--finish", "--json")

    assert (alive.stdout, told.stdout) == ("continue\n", "continue\n")
    assert json.loads(finished.stdout)["ended"] is True
    client.wait(study.id, timeout=20)
    over = run("ask", study.id)
    assert (over.exit_code, "no job: the study is completed" in over.output) == (1, True)


def test_a_shell_reads_a_job_by_lines(service: LiveService, client: Client) -> None:
    study = create(service, client)

    shown = dict(line.split("\t") for line in run("ask", study.id).stdout.splitlines())

    assert shown["job"].startswith(study.id)
    assert (shown["start"], shown["end"]) == ("0", "4")
    assert float(shown["config.x"]) == next(client.trials(study.id)).config["x"]


def test_a_shell_tells_of_a_failure(service: LiveService, client: Client) -> None:
    study = create(service, client)
    job = json.loads(run("ask", study.id, "--json").stdout)["jobs"][0]

    assert run("tell", job["id"], "--failed", "out of memory").stdout == "ended\n"
    assert client.trial(job["trial"]).problem == "out of memory"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["loss=0.5"], "--report"),
        (["--report", "1"], "--report"),
        (["--report", "1", "loss"], '"loss": give what was measured as METRIC=VALUE with a finite number'),
        (["--report", "1", "loss=x"], '"loss=x"'),
        (["--report", "1", "loss=nan"], '"loss=nan"'),
        (["--report", "1", "loss=1_0"], '"loss=1_0"'),
        (["--report", "nan", "loss=1"], "nan is no finite number"),
        (["--report", "1_0", "loss=1"], "1_0 is no finite number"),
        (["--finish", "--failed", "x"], "--finish, --failed"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], message: str) -> None:
    refused = run("tell", "some-job", *arguments)

    assert refused.exit_code == 2
    assert message in refused.output


def test_an_unknown_job_is_refused(service: LiveService) -> None:
    began = time.monotonic()

    refused = run("tell", "some-job", "--finish")

    assert refused.exit_code == 1
    assert "does not exist" in refused.output
    assert time.monotonic() - began < 10
