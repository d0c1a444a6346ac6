from __future__ import annotations

import asyncio

import pytest

from models.recsys.asked import Answer, Asked
from service import serving
from service.serving import Batcher, Models, TooManyWaiting
from tests.service.conftest import report, sqlite_only, start
from workers.model_server import ServerLost


class Echo:
    """A server that answers with what it was asked, and remembers its batches."""

    def __init__(self, gate=None, lost=False):
        self.batches, self.gate, self.lost, self.closed = [], gate, lost, False

    async def answer(self, asked):
        self.batches.append(len(asked))
        if self.gate is not None:
            await self.gate.wait()
        if self.lost:
            raise ServerLost("its process died")
        return [Answer(list(one.items or range(one.count)), [0.5], one.user >= 0, one.query >= 0) for one in asked]

    def close(self):
        self.closed = True


def serve(service, server):
    async def begin(trial):
        return server

    # The place of a cached property, which is not yet filled.
    vars(service.services)["models"] = Models(begin)


@sqlite_only
def test_items_are_scored_and_recommended(service):
    serve(service, Echo())

    scored = service.client.post(
        "/v1/models/abc-0:score", json={"requests": [{"user": 3, "query": 1, "items": [7, 8]}]}
    )
    best = service.client.post("/v1/models/abc-0:recommend", json={"requests": [{"count": 4}, {"user": 5}]})

    assert scored.status_code == best.status_code == 200, scored.text + best.text
    assert scored.json() == {"answers": [{"items": [7, 8], "scores": [0.5], "known_user": True, "known_query": True}]}
    assert [len(answer["items"]) for answer in best.json()["answers"]] == [4, 10]
    assert [answer["known_user"] for answer in best.json()["answers"]] == [False, True]


@sqlite_only
@pytest.mark.parametrize(
    ("verb", "request_", "field"),
    [
        ("score", {"user": 1}, "requests.0.items"),
        ("score", {"items": []}, "requests.0.items"),
        ("score", {"items": [-1]}, "requests.0.items.0"),
        ("recommend", {"count": 0}, "requests.0.count"),
        ("recommend", {"user": "ann"}, "requests.0.user"),
        ("recommend", {"usr": 1}, "requests.0.usr"),
    ],
)
def test_a_request_that_is_not_valid_names_its_field(service, verb, request_, field):
    answer = service.client.post(f"/v1/models/abc-0:{verb}", json={"requests": [request_]})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


@sqlite_only
def test_a_trial_that_is_not_there_or_cannot_be_served_is_refused(service):
    study = service.create()["id"]
    service.runner(study).commit(start(0, 0), report(0, 0, 1.0))
    body = {"requests": [{"user": 1}]}

    missing = service.client.post("/v1/models/0000000000000000-0:recommend", json=body)
    other = service.client.post(f"/v1/models/{study}-0:recommend", json=body)

    assert missing.status_code == 404
    assert other.status_code == 409
    assert "workload bowl; only those of recsys.zoomer can be served" in other.json()["detail"]


@sqlite_only
def test_a_lost_server_is_told_and_started_anew(service):
    servers = [Echo(lost=True), Echo()]

    async def begin(trial):
        return servers.pop(0)

    vars(service.services)["models"] = Models(begin)
    body = {"requests": [{"user": 1}]}

    lost, found = (service.client.post("/v1/models/abc-0:recommend", json=body) for _ in range(2))

    assert (lost.status_code, found.status_code) == (503, 200)
    assert "its process died" in lost.json()["detail"]
    assert lost.headers["retry-after"] == "1"


def test_requests_that_come_while_the_model_is_busy_are_one_batch():
    async def play():
        server = Echo(gate=asyncio.Event())
        batcher = Batcher(server)
        tasks = [asyncio.create_task(batcher.answer([Asked(user=n, count=n)])) for n in range(serving.MAX_UNDERWAY)]
        for _ in tasks:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(batcher.answer([Asked(user=n, count=n)])) for n in range(40)]
        await asyncio.sleep(0)
        server.gate.set()
        answers = await asyncio.gather(*tasks)
        return server.batches, answers

    batches, answers = asyncio.run(play())

    assert sum(batches) == 40 + serving.MAX_UNDERWAY
    assert len(batches) <= 3
    assert [len(answer[0].items) for answer in answers[-40:]] == list(range(40))


def test_too_many_waiting_requests_are_refused(monkeypatch):
    monkeypatch.setattr(serving, "MAX_WAITING", 2)

    with pytest.raises(TooManyWaiting):
        asyncio.run(Batcher(Echo()).answer([Asked()] * 3))


def test_only_so_many_models_stay_loaded():
    servers = {}

    async def begin(trial):
        servers[trial] = Echo()
        return servers[trial]

    async def play():
        models = Models(begin)
        for trial in ("a", "b", "c", "d", "a", "e"):
            await models.answer(trial, [Asked()])

    asyncio.run(play())

    assert [trial for trial, server in servers.items() if server.closed] == ["b"]
