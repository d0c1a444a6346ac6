"""The clients against the real API, against a service that goes away, and against one that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import io
import json
import queue
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from optimizers.protocol import Incumbent
from tests.service.conftest import ended, incumbent, report, start
from tests.tunewright.live_service import LiveService
from tunewright import ApiError, AsyncClient, Client, ConnectionFailed, SpecError, StudyState, TrialState, _connection
from tunewright.study import Budget
from tunewright.views import Study
from workers.checkpoints import CheckpointStore

pytestmark = pytest.mark.timeout(60)

SPEC = {"name": "mine", "workload": "bowl", "budget": {"trials": 4}}
EVENT = {"kind": "progress", "study": "s", "at": "2026-01-01T00:00:00Z", "body": {}}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "FIRST_PAUSE", 0.0)


# Calls


@pytest.mark.parametrize("form", ["mapping", "yaml", "file"])
def test_a_study_is_submitted_in_any_form(client: Client, tmp_path: Path, form: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(json.dumps(SPEC))
    spec: Any = {"mapping": SPEC, "yaml": file.read_text(), "file": file}[form]

    study = client.submit(spec)

    assert (study.name, study.state) == ("mine", StudyState.QUEUED)
    assert client.study(study.id) == study


def test_numbers_of_numpy_are_taken_as_they_are(client: Client) -> None:
    three = np.int64(3)

    study = client.submit({**SPEC, "optimizer": {"name": "bayes", "settings": {"initial_trials": three}}})
    entry = client.enqueue(study.id, {"x": np.float32(0.5), "n": three, "flag": np.True_})
    cloned = client.clone(study.id, seed=three)

    assert client.study(study.id).spec.optimizer.settings == {"initial_trials": 3}
    assert entry.config == {"x": 0.5, "n": 3, "flag": True}
    assert cloned.spec.seed == 3


def test_the_same_key_submits_once(client: Client) -> None:
    first = client.submit(SPEC, idempotency_key="k1")

    assert client.submit(SPEC, idempotency_key="k1").id == first.id
    assert client.submit(SPEC).id != first.id


def test_lists_run_over_all_pages(service: LiveService, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunewright._requests.PAGE_ITEMS", 2)
    study = service.create()
    runner = service.runner(study)
    runner.commit(
        *(start(n, n) for n in range(5)), *(report(0, 0, r) for r in (1, 2, 3)), ended(0, 0, TrialState.COMPLETED)
    )

    assert [trial.number for trial in client.trials(study.id)] == [4, 3, 2, 1, 0]
    assert [trial.number for trial in client.trials(study.id, TrialState.COMPLETED)] == [0]
    assert [measurement.resource for measurement in client.reports(f"{study.id}-0")] == [1, 2, 3]
    assert study.id in [found.id for found in client.studies()]
    assert study.id not in [found.id for found in client.studies(StudyState.QUEUED)]


def test_what_a_study_measured_can_be_read(service: LiveService, client: Client) -> None:
    study = service.create()
    service.runner(study).commit(start(0, 0), report(0, 0, 2.0), best=[incumbent(0, 0.5)], improved=True)

    assert client.trial(f"{study.id}-0").jobs[0].state == "running"
    assert client.curves(study.id).curves[0].points == [(2.0, 0.5)]
    assert client.improvements(study.id)[0].best.trial == 0


def test_a_study_is_steered_and_deleted(service: LiveService, client: Client) -> None:
    study = client.submit(SPEC)

    assert client.pause(study.id).wanted == "pause"
    assert client.resume(study.id).wanted == "run"
    assert client.cancel(study.id).wanted == "cancel"
    service.runner(study).finish(StudyState.CANCELLED)
    client.delete(study.id)

    with pytest.raises(ApiError) as caught:
        client.study(study.id)
    assert caught.value.status == 404


def test_a_configuration_is_enqueued_once_per_key(client: Client) -> None:
    study = client.submit(SPEC)

    first = client.enqueue(study.id, {"n": 3}, idempotency_key=f"{study.id}-k")
    again = client.enqueue(study.id, {"n": 3}, idempotency_key=f"{study.id}-k")
    other = client.enqueue(study.id, {"n": 3})

    assert (first.number, first.config, first.trial) == (0, {"x": 0.5, "n": 3, "flag": True}, None)
    assert again == first
    assert list(client.queue(study.id)) == [first, other]


def test_a_configuration_that_does_not_fit_names_its_parameter(client: Client) -> None:
    study = client.submit(SPEC)

    with pytest.raises(ApiError, match='parameter "n": 77 lies outside') as caught:
        client.enqueue(study.id, {"n": 77})

    assert caught.value.status == 422


def test_a_study_is_warm_started(service: LiveService, client: Client) -> None:
    earlier = service.create()
    service.runner(earlier).commit(start(0, 0), report(0, 0, 3.0), ended(0, 0, TrialState.COMPLETED))

    study = client.submit({**SPEC, "warm_start": [earlier.id]})

    assert study.spec.warm_start == [earlier.id]
    assert len(service.runner(study).journal.load().earlier) == 1


def test_a_study_is_cloned_with_changes(client: Client) -> None:
    study = client.submit(SPEC)

    same, changed = client.clone(study.id), client.clone(study.id, seed=7, budget={"trials": 2})

    assert len({study.id, same.id, changed.id}) == 3
    assert same.spec == study.spec
    assert changed.spec == study.spec.model_copy(update={"seed": 7, "budget": Budget(trials=2)})
    with pytest.raises(ApiError, match="colour"):
        client.clone(study.id, colour="red")


def test_a_study_that_has_ended_is_extended(service: LiveService, client: Client) -> None:
    study = client.submit(SPEC)
    runner = service.runner(study)
    runner.counts = {TrialState.COMPLETED: 4}
    runner.finish()

    with pytest.raises(ValidationError, match="give trials or seconds"):
        client.extend(study.id, {"patience": 5})
    extended = client.extend(study.id, {"trials": 8, "patience": 5})

    assert (extended.state, extended.spec.budget) == (StudyState.QUEUED, Budget(trials=8, patience=5))
    assert client.extend(study.id, Budget(trials=8, patience=5)) == extended


def test_the_asynchronous_client_enqueues_too(service: LiveService) -> None:
    async def run() -> list[int]:
        async with AsyncClient(service.url) as client:
            study = await client.submit(SPEC)
            await client.enqueue(study.id, {})
            return [entry.number async for entry in client.queue(study.id)]

    assert asyncio.run(run()) == [0]


def test_the_catalogue_is_read(client: Client) -> None:
    assert [info.name for info in client.workloads().items] == ["bowl"]
    assert "asha" in [info.name for info in client.optimizers()]


def test_ready_follows_the_service(service: LiveService, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.ready()

    monkeypatch.setattr(service.conductor, "problem", "the cluster is starting")
    assert not client.ready()


def test_a_problem_names_its_fields(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.submit({**SPEC, "workload": "nowhere"})

    assert caught.value.status == 422
    assert [error["field"] for error in caught.value.errors] == ["workload"]
    assert "known: bowl" in str(caught.value)


def test_an_id_cannot_leave_its_place_in_the_path(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.study("../workloads?x=")

    assert caught.value.status == 404


def test_the_async_client_speaks_the_same(service: LiveService) -> None:
    async def run() -> None:
        async with AsyncClient(service.url) as client:
            study = await client.submit(SPEC)
            assert (await client.study(study.id)).name == "mine"
            assert study.id in [found.id async for found in client.studies()]
            assert [trial async for trial in client.trials(study.id)] == []
            assert await client.ready()
            assert (await client.pause(study.id)).wanted == "pause"
            with pytest.raises(ApiError):
                await client.trial("nothing")
            with pytest.raises(TimeoutError, match="still queued"):
                await client.wait(study.id, timeout=0.05)

    asyncio.run(run())


# States


@pytest.fixture
def trained(service: LiveService, tmp_path: Path) -> str:
    """A trial with states at 3 and at 9."""
    study = service.create()
    runner = service.runner(study)
    runner.commit(start(0, 0), report(0, 0, 3.0, 0.25), best=[incumbent(0, 0.25)])
    store = CheckpointStore(service.settings.leg().checkpoint_url)
    for resource in (3.0, 9.0):
        written = tmp_path / f"written-{resource:g}"
        (written / "nested").mkdir(parents=True)
        (written / "nested" / "model").write_bytes(b"x" * int(resource) * 1_000_000)
        store.put(study.id, 0, resource, written, keep={3.0})
    return f"{study.id}-0"


def test_a_state_is_fetched_into_a_directory(client: Client, trained: str, tmp_path: Path) -> None:
    newest = client.checkpoint(trained, tmp_path / "there" / "newest")
    earlier = client.checkpoint(trained, tmp_path / "there" / "earlier", resource=3)

    assert (newest, earlier) == (9.0, 3.0)
    assert (tmp_path / "there" / "newest" / "nested" / "model").stat().st_size == 9_000_000
    assert (tmp_path / "there" / "earlier" / "nested" / "model").stat().st_size == 3_000_000
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["earlier", "newest"]


def test_the_async_client_fetches_states_too(service: LiveService, trained: str, tmp_path: Path) -> None:
    async def run() -> float:
        async with AsyncClient(service.url) as client:
            with pytest.raises(ApiError, match="there is one at 9, 3"):
                await client.checkpoint(trained, tmp_path / "no", 5)
            return await client.checkpoint(trained, tmp_path / "newest")

    assert asyncio.run(run()) == 9.0
    assert (tmp_path / "newest" / "nested" / "model").stat().st_size == 9_000_000
    assert not (tmp_path / "no").exists()


def test_a_directory_that_is_there_is_left_alone(client: Client, trained: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()

    with pytest.raises(FileExistsError, match="it exists already"):
        client.checkpoint(trained, tmp_path / "mine")
    with pytest.raises(ApiError, match="there is one at 9, 3"):
        client.checkpoint(trained, tmp_path / "new", resource=4)

    assert not (tmp_path / "new").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_state_that_goes_while_it_is_sent_leaves_nothing(
    client: Client, trained: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> Iterator[bytes]:
        yield b"x" * 1000
        raise OSError("a later state has replaced it")

    monkeypatch.setattr(CheckpointStore, "read", gone)

    with pytest.raises(ConnectionFailed):
        client.checkpoint(trained, tmp_path / "new")

    assert not (tmp_path / "new").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "inner/../../outside", "link"])
def test_an_archive_with_tricks_is_refused(tmp_path: Path, name: str) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as members:
        member = tarfile.TarInfo(name)
        if name == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        members.addfile(member)
    answer = httpx.Response(200, content=archive.getvalue(), headers={"Tunewright-Resource": "3.0"})

    with (
        Client("http://there:1", transport=httpx.MockTransport(lambda _: answer)) as client,
        pytest.raises(ApiError, match="is no file of a state"),
    ):
        client.checkpoint("0123456789abcdef-0", tmp_path / "state")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "headers"),
    [(b"{}", {}), (b"no archive", {"Tunewright-Resource": "3.0"}), (b"", {"Tunewright-Resource": "x"})],
)
def test_an_answer_that_is_no_state_leaves_nothing(tmp_path: Path, content: bytes, headers: dict[str, str]) -> None:
    answer = httpx.Response(200, content=content, headers=headers)

    with (
        Client("http://there:1", transport=httpx.MockTransport(lambda _: answer)) as client,
        pytest.raises(ApiError, match="unexpected answer"),
    ):
        client.checkpoint("0123456789abcdef-0", tmp_path / "state")

    assert list(tmp_path.iterdir()) == []


# Addresses


def test_the_address_comes_from_the_argument_the_environment_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEWRIGHT_URL", raising=False)
    assert Client().url == "http://127.0.0.1:8080"

    monkeypatch.setenv("TUNEWRIGHT_URL", "http://there:1/")
    assert Client().url == "http://there:1"
    assert Client("http://here:2").url == "http://here:2"


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SpecError, match="http://HOST:PORT"):
        Client(url)


def test_nobody_there_is_a_failed_connection() -> None:
    with Client("http://127.0.0.1:1") as client:
        with pytest.raises(ConnectionFailed, match="tunewright serve"):
            client.study("x")
        with pytest.raises(ConnectionFailed):
            next(client.events())


@pytest.mark.parametrize("answer", [httpx.Response(200, html="<p>hello"), httpx.Response(404, html="<p>what?")])
def test_another_server_is_told_apart(answer: httpx.Response) -> None:
    with Client(transport=httpx.MockTransport(lambda request: answer)) as client, pytest.raises(ApiError) as caught:
        client.study("x")

    assert "Tunewright service" in str(caught.value)


# Calls that are sent again


class Flaky:
    """Answers with each of the given failures in turn, then hands requests on."""

    def __init__(self, *failures: type[httpx.TransportError] | int) -> None:
        self.failures = list(failures)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, int):
                return httpx.Response(failure, json={"title": "Busy", "status": failure})
            raise failure("broken", request=request)
        return httpx.Response(200, json=_study_body())


def _study_body() -> dict[str, Any]:
    summary = {"id": "s", "optimizer": "asha", "state": "running", "wanted": "run", "created_at": EVENT["at"]}
    return {**SPEC, **summary, "spec": SPEC}


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError, 503])
def test_a_submission_is_repeated_under_its_key(failure: Any) -> None:
    flaky = Flaky(failure, failure)

    with Client(transport=httpx.MockTransport(flaky)) as client:
        client.submit(SPEC)

    assert len(flaky.requests) == 3
    assert len({request.headers["Idempotency-Key"] for request in flaky.requests}) == 1


def test_repeating_has_an_end() -> None:
    flaky = Flaky(*[503] * 10)

    with Client(transport=httpx.MockTransport(flaky)) as client, pytest.raises(ApiError, match="Busy"):
        client.study("s")

    assert len(flaky.requests) == 1 + _connection.RETRIES


@pytest.mark.parametrize(("failure", "sent"), [(httpx.ReadError, 1), (503, 1), (httpx.ConnectError, 2)])
def test_steering_is_repeated_only_when_it_cannot_have_arrived(failure: Any, sent: int) -> None:
    flaky = Flaky(failure)

    with Client(transport=httpx.MockTransport(flaky)) as client:
        try:
            client.cancel("s")
        except ApiError:
            pass

    assert len(flaky.requests) == sent


def test_a_refusal_is_not_repeated() -> None:
    flaky = Flaky(409)

    with Client(transport=httpx.MockTransport(flaky)) as client, pytest.raises(ApiError):
        client.submit(SPEC)

    assert len(flaky.requests) == 1


# Following


class Watcher:
    """Watches a study in a thread; what it sees comes out of `next`."""

    def __init__(self, client: Client, study_id: str) -> None:
        self._seen: queue.Queue[Study | Exception | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, args=(client, study_id), daemon=True)
        self._thread.start()

    def next(self) -> Study | None:
        """What it sees next; None at the end."""
        found = self._seen.get(timeout=30)
        if isinstance(found, Exception):
            raise found
        return found

    def until(self, condition: Callable[[Study], bool]) -> Study:
        while True:
            study = self.next()
            assert study is not None
            if condition(study):
                return study

    def _run(self, client: Client, study_id: str) -> None:
        try:
            for study in client.watch(study_id):
                self._seen.put(study)
            self._seen.put(None)
        except Exception as error:
            self._seen.put(error)


def test_watch_sees_changes_and_ends_with_the_study(service: LiveService, client: Client) -> None:
    study = service.create()
    runner = service.runner(study)
    watcher = Watcher(client, study.id)
    assert watcher.next() == study

    runner.commit(start(0, 0))
    watcher.until(lambda seen: seen.state is StudyState.RUNNING)
    runner.commit(report(0, 0, 3.0), best=[Incumbent(0, {"x": 0.1}, 3.0, {"loss": 0.5})], progress=0.5)
    seen = watcher.until(lambda seen: seen.progress == 0.5)
    runner.finish()

    assert seen.best[0].metrics == {"loss": 0.5}
    assert watcher.until(lambda seen: seen.state.final).state is StudyState.COMPLETED
    assert watcher.next() is None


def test_watch_of_a_study_that_is_over_ends_at_once(service: LiveService, client: Client) -> None:
    study = service.create()
    service.runner(study).finish(StudyState.CANCELLED)

    assert [seen.state for seen in client.watch(study.id)] == [StudyState.CANCELLED]
    assert client.wait(study.id).state is StudyState.CANCELLED


def test_watch_does_not_miss_an_end_before_it_subscribed(service: LiveService, client: Client) -> None:
    study = service.create()
    watching = client.watch(study.id)
    next(watching)

    service.runner(study).finish()

    assert [seen.state for seen in watching][-1] is StudyState.COMPLETED


def test_watch_of_a_deleted_study_says_so(service: LiveService, client: Client) -> None:
    study = service.create()
    watching = client.watch(study.id)
    next(watching)
    service.runner(study).finish()
    service.repository.delete_study(study.id)

    with pytest.raises(ApiError, match="does not exist"):
        list(watching)


@pytest.mark.parametrize("ends", ["while the service is away", "after it came back"])
def test_watch_survives_a_restart_of_the_service(tmp_path: Path, ends: str) -> None:
    service = LiveService(tmp_path / "data")
    service.start()
    study = service.create()
    runner = service.runner(study)
    with Client(service.url) as client:
        watcher = Watcher(client, study.id)
        runner.commit(start(0, 0))
        watcher.until(lambda seen: seen.state is StudyState.RUNNING)

        service.stop()
        if ends == "while the service is away":
            runner.finish()
        service.start()
        if ends != "while the service is away":
            runner.finish()

        assert watcher.until(lambda seen: seen.state.final).state is StudyState.COMPLETED
        assert watcher.next() is None
    service.close()


def test_watch_waits_for_a_service_that_goes_before_the_first_event(
    service: LiveService, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = service.create()
    watching = client.watch(study.id)
    next(watching)
    service.runner(study).finish()
    service.stop()
    tries = []

    def pause(seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 2 * _connection.RETRIES:
            service.start()

    monkeypatch.setattr("tunewright.client.time", SimpleNamespace(sleep=pause, monotonic=time.monotonic))

    assert [seen.state for seen in watching] == [StudyState.COMPLETED]
    assert len(tries) == 2 * _connection.RETRIES


def test_wait_gives_up_in_time(service: LiveService, client: Client) -> None:
    study = service.create()

    with pytest.raises(TimeoutError, match=r"still queued after 0\.05 seconds"):
        client.wait(study.id, timeout=0.05)


def test_the_async_watch_survives_a_restart_of_the_service(tmp_path: Path) -> None:
    service = LiveService(tmp_path / "data")
    service.start()
    study = service.create()

    async def run() -> list[StudyState]:
        states = []
        async with AsyncClient(service.url) as client:
            async for seen in client.watch(study.id):
                states.append(seen.state)
                if len(states) == 1:
                    await asyncio.to_thread(service.stop)
                    service.runner(study).finish()
                    await asyncio.to_thread(service.start)
        return states

    assert asyncio.run(run()) == [StudyState.QUEUED, StudyState.COMPLETED]
    service.close()


def test_events_of_one_study_come_in_order(service: LiveService, client: Client) -> None:
    before = service.repository.last_event()
    other, study = service.create(), service.create()
    runner = service.runner(study)
    runner.commit(start(0, 0))
    service.runner(other).commit(start(0, 0))

    with closing(client.events(study=study.id, after=before)) as events:
        found = list(islice(events, 3))

    assert {event.study for event in found} == {study.id}
    assert [event.kind for event in found] == ["study", "study", "progress"]
    assert [event.id for event in found] == sorted(event.id for event in found)


# A server whose event streams break as told


class Script(ThreadingHTTPServer):
    """Answers the n-th request with the n-th text, then closes the connection; notes every Last-Event-ID."""

    daemon_threads = True

    def __init__(self, *answers: str | int) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.answers = list(answers)
        self.asked_after: list[str | None] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Script

    def do_GET(self) -> None:
        self.server.asked_after.append(self.headers["Last-Event-ID"])
        answer = self.server.answers.pop(0)
        self.send_response(answer if isinstance(answer, int) else 200)
        self.send_header("Content-Type", "text/event-stream")
        # More is promised than comes: the connection breaks in the middle.
        self.send_header("Content-Length", "1000000" if isinstance(answer, str) else "0")
        self.end_headers()
        if isinstance(answer, str):
            self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _sent(*ids: int) -> str:
    return "retry: 1000\n\n" + "".join(f"id: {n}\ndata: {json.dumps({**EVENT, 'id': n})}\n\n" for n in ids)


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    servers: list[Script] = []

    def start(*answers: str | int) -> Script:
        servers.append(Script(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_events_go_on_where_the_connection_broke(script: Callable[..., Script]) -> None:
    server = script(_sent(4, 5), _sent(6), 503, ": no event\n\n", _sent(7, 8))

    with Client(server.url) as client, closing(client.events(after=3)) as events:
        found = [event.id for event in islice(events, 5)]

    assert found == [4, 5, 6, 7, 8]
    assert server.asked_after == ["3", "5", "6", "6", "6"]


def test_async_events_go_on_where_the_connection_broke(script: Callable[..., Script]) -> None:
    server = script(_sent(4, 5), 502, _sent(6))

    async def run() -> list[int]:
        found = []
        async with AsyncClient(server.url) as client:
            async for event in client.events():
                found.append(event.id)
                if len(found) == 3:
                    break
        return found

    assert asyncio.run(run()) == [4, 5, 6]
    assert server.asked_after == [None, "5", "5"]


def test_an_event_cut_in_the_middle_is_sent_whole_again(script: Callable[..., Script]) -> None:
    server = script(_sent(1) + 'id: 2\ndata: {"kind": "pro', _sent(2))

    with Client(server.url) as client, closing(client.events()) as events:
        assert [event.id for event in islice(events, 2)] == [1, 2]

    assert server.asked_after == [None, "1"]


def test_a_refused_event_stream_is_not_tried_again(script: Callable[..., Script]) -> None:
    server = script(_sent(1), 404)

    with Client(server.url) as client, closing(client.events()) as events:
        next(events)
        with pytest.raises(ApiError):
            next(events)
