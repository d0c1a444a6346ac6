"""Tuning sessions over REST: what is begun and refused, what is shown, who may, and what is told live."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from db_knobs.errors import ConnectionLost
from service import auth
from service.store.sessions import unfinished
from service.store.tables import EventRow
from tests.service.access import bearer, make_token, pass_time
from tests.service.conftest import Service, sqlite_only
from tests.service.live_databases import FakeServer, attach, attachment, begin, problems_of, use
from tests.service.session_runners import FORMER, Writer, began, intended, measured
from tunewright.access import Scope
from tunewright.session import SessionState
from tunewright.session_views import IntervalView, NoticeView, SessionView
from workers.session_journal import Noticed, RestartIntended, RestartTried, Restored, Skipped

LOSES = "After a crash of the machine the whole database may be unreadable."

RESTARTS = {"command": "prod", "window": "02:00-04:00"}


@pytest.fixture
def server(service: Service) -> FakeServer:
    """A service with one database, `prod`."""
    found = FakeServer()
    use(service, found)
    attach(service)
    return found


@pytest.fixture(scope="module")
def shared_server(shared_service: Service) -> FakeServer:
    """As `server`, without statistics of statements; to be left as it is."""
    found = FakeServer()
    found.percentiles = False
    use(shared_service, found)
    attach(shared_service)
    return found


def writer(service: Service, session: dict[str, Any]) -> Writer:
    return Writer.of(service.repository.engine, service.settings.store_url, session["id"])


def test_a_session_is_begun_with_what_was_asked_and_its_databases_id(service: Service, server: FakeServer) -> None:
    session = begin(service, knobs=["work_mem"], bounds={"work_mem": {"low": 1024, "high": 65536}}, interval=5)

    (database,) = service.client.get("/v1/databases").json()["items"]
    assert (session["state"], session["wanted"], session["database"]) == ("pending", "run", database["id"])
    assert (session["spec"]["database"], session["spec"]["project"]) == (database["id"], "default")
    assert (session["unit"], session["maximize"], session["former"]) == ("requests/s", True, None)
    assert service.client.get(f"/v1/sessions/{session['id']}").json() == session
    assert [each["id"] for each in service.client.get("/v1/sessions").json()["items"]] == [session["id"]]
    assert service.services.conductor.nudges == 1  # type: ignore[attr-defined]


@sqlite_only
@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"database": "nothing"}, "database", "attach it"),
        ({"knobs": ["work_mme"]}, "knobs", "no such setting"),
        ({"knobs": ["ssl"]}, "knobs", "never touched"),
        ({"knobs": ["port"]}, "knobs", "not in the catalogue"),
        ({"knobs": ["fsync"]}, "knobs", f'accept it with the words "{LOSES}"'),
        ({"knobs": ["fsync"], "accepted": {"fsync": "go on"}}, "accepted.fsync", LOSES),
        ({"accepted": {"fsync": LOSES}}, "accepted.fsync", "name it in `knobs` too"),
        ({"knobs": ["jit"], "accepted": {"jit": "x"}}, "accepted.jit", "nothing to accept"),
        ({"bounds": {"work_mem": {"low": 1, "high": 65536}}}, "bounds.work_mem", "does not lie within 1024"),
        ({"bounds": {"work_mem": {"low": 5, "high": 5}}}, "bounds.work_mem", "must be below high"),
        ({"bounds": {"jit": {"low": 0, "high": 1}}}, "bounds.jit", "no range"),
        ({"knobs": ["jit"], "bounds": {"work_mem": {"low": 64, "high": 128}}}, "bounds.work_mem", "does not tune"),
        ({"objective": {"latency_p99": 1.0}}, "objective.latency_p99", "CREATE EXTENSION pg_stat_statements"),
        ({"objective": {"speed": 1.0}}, "body", "none of throughput"),
        ({"objective": {}}, "body", "name a measure"),
        ({"interval": 0.2}, "interval", "greater than or equal to 1"),
        ({"margin": 1.0}, "margin", "less than 1"),
        ({"mode": "guess"}, "mode", "'apply' or 'advice'"),
        ({"budget": {"intervals": 0}}, "budget.intervals", "greater than or equal to 1"),
        ({"knob": ["jit"]}, "knob", "not permitted"),
        ({"knobs": ["jit", "shared_buffers"]}, "knobs", "needs a restart of the server; allow restarts"),
        ({"knobs": ["jit"], "restarts": RESTARTS}, "restarts", "none of `knobs` needs a restart"),
        ({"knobs": ["shared_buffers"], "restarts": RESTARTS}, "restarts", "at least one knob that needs no restart"),
        ({"knobs": ["jit", "max_connections"], "restarts": RESTARTS}, "knobs", "fewer turn users away"),
        (
            {"knobs": ["jit", "shared_buffers"], "restarts": {**RESTARTS, "command": "other"}},
            "restarts.command",
            "TUNEWRIGHT_RESTART_COMMANDS",
        ),
        ({"knobs": ["jit"], "restarts": {**RESTARTS, "window": "2-4"}}, "restarts.window", "match pattern"),
        (
            {"knobs": ["jit", "shared_buffers"], "restarts": {**RESTARTS, "window": "23:50-00:20"}},
            "restarts.window",
            "is open for 30 minutes, and to try a setting takes up to",
        ),
        ({"restarts": RESTARTS}, "body", "name the knobs to turn"),
    ],
)
def test_what_cannot_be_tuned_is_refused_with_the_field(
    shared_service: Service, shared_server: FakeServer, fields: dict[str, Any], field: str, words: str
) -> None:
    answer = shared_service.client.post("/v1/sessions", json={"database": "prod", **fields})

    ((named, message),) = problems_of(answer)
    assert named == field
    assert words in message
    assert shared_service.client.get("/v1/sessions").json()["items"] == []


@sqlite_only
def test_without_the_right_to_set_only_advice_is_given(service: Service, server: FakeServer) -> None:
    server.grants = False

    ((field, message),) = problems_of(service.client.post("/v1/sessions", json={"database": "prod"}))

    assert field == "mode"
    assert "GRANT ALTER SYSTEM ON PARAMETER work_mem" in message
    assert begin(service, mode="advice")["mode"] == "advice"


def test_a_database_that_does_not_answer_is_tuned_as_soon_as_it_does(service: Service, server: FakeServer) -> None:
    server.refuses = ConnectionLost("nobody answers")

    assert begin(service, knobs=["whatever"])["state"] == "pending"


def test_a_server_has_one_session_however_often_it_is_attached(service: Service, server: FakeServer) -> None:
    attach(service, name="again", database="other", project="b")
    attach(service, name="elsewhere", port=5433)
    first = begin(service)

    same = service.client.post("/v1/sessions", json={"database": "prod", "mode": "advice"})
    twice = service.client.post("/v1/sessions", json={"database": "again"})
    other = service.client.post("/v1/sessions", json={"database": "elsewhere"})

    assert (same.status_code, twice.status_code, other.status_code) == (409, 409, 201)
    assert f"session {first['id']}" in same.json()["detail"]
    assert first["id"] not in twice.json()["detail"], "it is another project's"
    writer(service, first).finish()
    assert begin(service)["state"] == "pending"


def test_a_repeated_request_begins_one_session(service: Service, server: FakeServer) -> None:
    headers = {"Idempotency-Key": "k"}
    first = service.client.post("/v1/sessions", json={"database": "prod"}, headers=headers)

    again = service.client.post("/v1/sessions", json={"database": "prod"}, headers=headers)
    other = service.client.post("/v1/sessions", json={"database": "prod", "seed": 1}, headers=headers)

    server.grants = False
    later = service.client.post("/v1/sessions", json={"database": "prod"}, headers=headers)

    assert (first.status_code, again.json()) == (201, first.json())
    assert later.json() == first.json(), "whatever the database says by now"
    assert other.status_code == 409
    assert "Idempotency-Key" in other.json()["detail"]


@sqlite_only
def test_a_name_in_several_projects_must_be_told_apart(service: Service, server: FakeServer) -> None:
    other = attach(service, project="b", host="b.internal")

    ((field, message),) = problems_of(service.client.post("/v1/sessions", json={"database": "prod"}))

    assert (field, "b, default" in message) == ("database", True)
    assert begin(service, project="b")["database"] == other["id"]
    assert begin(service, project="default")["project"] == "default"


def test_steering_says_what_is_wanted_until_it_is_over(service: Service, server: FakeServer) -> None:
    session = begin(service)
    path = f"/v1/sessions/{session['id']}"

    wanted = [service.client.post(f"{path}:{verb}") for verb in ("pause", "resume", "stop", "stop", "resume")]
    writer(service, session).finish()
    over = service.client.post(f"{path}:stop")

    assert [answer.status_code for answer in wanted] == [202, 202, 202, 202, 409]
    assert [answer.json().get("wanted") for answer in wanted[:4]] == ["pause", "run", "stop", "stop"]
    assert over.status_code == 409
    assert "is stopped" in over.json()["detail"]


def test_what_a_session_has_kept_is_taken_back_by_stopping_it(service: Service, server: FakeServer) -> None:
    session = begin(service, keep=True, budget={"intervals": 1})
    path = f"/v1/sessions/{session['id']}"
    writer(service, session).finish(SessionState.FINISHED)
    another = begin(service)

    in_the_way = service.client.post(f"{path}:stop")
    writer(service, another).finish()
    paused = service.client.post(f"{path}:pause")
    stopped = service.client.post(f"{path}:stop")
    again = service.client.post(f"{path}:stop")

    assert (in_the_way.status_code, another["id"] in in_the_way.json()["detail"]) == (409, True)
    assert paused.status_code == 409
    assert [answer.status_code for answer in (stopped, again)] == [202, 202]
    assert (stopped.json()["state"], stopped.json()["touched"]) == ("restoring", True)
    assert stopped.json()["ended_at"] is None
    assert [each.id for each in unfinished(service.repository.engine)] == [session["id"]]


def test_nothing_can_be_taken_back_from_a_database_that_was_detached(service: Service, server: FakeServer) -> None:
    session = begin(service, keep=True, budget={"intervals": 1})
    writer(service, session).finish(SessionState.FINISHED)
    assert service.client.delete(f"/v1/databases/{session['database']}").status_code == 204

    answer = service.client.post(f"/v1/sessions/{session['id']}:stop")

    assert (answer.status_code, session["database"] in answer.json()["detail"]) == (404, True)


def test_what_a_runner_writes_is_shown(service: Service, server: FakeServer) -> None:
    session = begin(service)
    runner = writer(service, session)
    runner.commit(began(), state=SessionState.RUNNING)
    runner.commit(intended(0), touched=True, next_at=1_012.0)
    runner.commit(measured(0), touched=True, intervals=1, gain=0.1, best={"config": {"work_mem": 8192}, "gain": 0.1})
    running = SessionView.model_validate(service.client.get(f"/v1/sessions/{session['id']}").json())
    runner.commit(Restored(1_020.0, {"work_mem": 4096, "jit": True}), state=SessionState.STOPPED, reason="asked")

    over = SessionView.model_validate(service.client.get(f"/v1/sessions/{session['id']}").json())

    assert (running.state, running.touched, running.intervals, running.gain) == (SessionState.RUNNING, True, 1, 0.1)
    assert running.former == FORMER
    assert (running.reference, running.current) == ({"work_mem": 4096, "jit": True}, {"work_mem": 8192, "jit": False})
    assert (running.features, running.knobs["work_mem"]["unit"]) == (["rate", "reads"], "kB")
    assert running.started_at is not None
    assert (over.state, over.touched, over.reason) == (SessionState.STOPPED, False, "asked")
    assert over.current == {"work_mem": 4096, "jit": True}
    assert over.ended_at is not None


def test_intervals_and_notices_come_in_pages_newest_first(service: Service, server: FakeServer) -> None:
    session = begin(service)
    runner = writer(service, session)
    runner.commit(began())
    for number in range(5):
        runner.commit(intended(number), measured(number, at=1_000.0 + number), Noticed(1.0, "mixed", f"n{number}"))
    runner.commit(Skipped(1_010.0, "too little traffic"), Restored(1_011.0, {"jit": True}, {"work_mem": "theirs"}))
    path = f"/v1/sessions/{session['id']}"

    def pages(name: str) -> list[Any]:
        found, cursor = [], ""
        while True:
            page = service.client.get(f"{path}/{name}?limit=2{cursor}").json()
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"

    intervals = [IntervalView.model_validate(each) for each in pages("intervals")]
    notices = [NoticeView.model_validate(each) for each in pages("notices")]

    assert [interval.skipped for interval in intervals] == ["too little traffic", *[None] * 5]
    newest = intervals[1]
    assert (newest.kind, newest.performance, newest.expected, newest.bound) == ("safe", 110.0, 100.0, 95.0)
    assert (newest.suggested, newest.config) == ({"work_mem": 8192, "jit": False},) * 2
    assert (newest.gain, newest.why["said"], newest.metrics["throughput"]) == (0.12, "wider", 110.0)
    assert [notice.text for notice in notices[1:]] == [f"n{number}" for number in reversed(range(5))]
    assert (notices[0].kind, notices[0].settings, notices[0].left) == (
        "restored",
        {"jit": True},
        {"work_mem": "theirs"},
    )
    wrong = service.client.get(
        f"{path}/notices?cursor={service.client.get(f'{path}/intervals?limit=1').json()['next_cursor']}"
    )
    assert problems_of(wrong)[0][0] == "cursor"


def test_restarts_are_asked_for_by_the_name_of_a_command_and_shown(service: Service, server: FakeServer) -> None:
    session = begin(service, knobs=["jit", "shared_buffers"], restarts=RESTARTS)
    runner = writer(service, session)
    tried = RestartTried(1_005.0, {"shared_buffers": 65536}, 0.12, kept=True, reason="kept: +12.0%")
    runner.commit(began(), RestartIntended(1_000.0, {"shared_buffers": 65536}), tried)
    runner.commit(measured(0, running={"shared_buffers": 65536}))

    assert session["spec"]["restarts"] == {**RESTARTS, "most": 3, "settle": 120.0}
    (notice,) = service.client.get(f"/v1/sessions/{session['id']}/notices").json()["items"]
    assert (notice["kind"], notice["text"]) == ("restart", "shared_buffers = 65536: kept: +12.0%")
    with service.repository.engine.connect() as connection:
        told = connection.execute(select(EventRow.body).where(EventRow.kind == "notice")).scalars().all()
    assert ["shared_buffers" in json.dumps(body) for body in told] == [True]
    (interval,) = service.client.get(f"/v1/sessions/{session['id']}/intervals").json()["items"]
    assert interval["config"] == {"work_mem": 8192, "jit": False, "shared_buffers": 65536}
    assert service.client.get(f"/v1/sessions/{session['id']}").json()["current"]["shared_buffers"] == 65536
    facts = runner.journal.load().facts
    assert facts[1:3] == [RestartIntended(1_000.0, {"shared_buffers": 65536}), tried]


def test_a_command_restarts_its_own_server_and_no_other(service: Service, server: FakeServer) -> None:
    attach(service, name="other", port=5433)
    asked = {"database": "other", "knobs": ["jit", "shared_buffers"], "restarts": RESTARTS}

    ((field, message),) = problems_of(service.client.post("/v1/sessions", json=asked))

    assert field == "restarts.command"
    assert 'no command "prod" that restarts this server (it has none)' in message


def test_lists_are_narrowed_by_database_and_state(service: Service, server: FakeServer) -> None:
    database = attach(service, name="other", port=5433)
    one, two = begin(service), begin(service, database="other")
    writer(service, one).finish()

    def ids(query: str) -> list[str]:
        return [each["id"] for each in service.client.get(f"/v1/sessions?{query}").json()["items"]]

    assert ids("") == [two["id"], one["id"]]
    assert ids("database=other") == ids(f"database={database['id']}") == ids("state=pending") == [two["id"]]
    assert ids("state=stopped") == [one["id"]]
    assert ids("project=b") == []
    page = service.client.get("/v1/sessions?limit=1").json()
    assert ids(f"cursor={page['next_cursor']}") == [one["id"]]


@sqlite_only
def test_nobody_meets_another_projects_session_or_its_events(service: Service, server: FakeServer) -> None:
    session = begin(service)
    mine = bearer(make_token(service, Scope.WRITE, "default"))
    other = bearer(make_token(service, Scope.ADMIN, "b"))
    reader = bearer(make_token(service, Scope.READ, "default"))
    pass_time(service, auth.OPEN_SECONDS)
    path = f"/v1/sessions/{session['id']}"
    calls = [("GET", path), ("GET", f"{path}/intervals"), ("GET", f"{path}/notices"), ("POST", f"{path}:pause")]

    def statuses(headers: dict[str, str]) -> list[int]:
        return [service.client.request(method, url, headers=headers).status_code for method, url in calls]

    assert statuses(mine) == [200, 200, 200, 202]
    assert statuses(other) == [404] * 4
    assert statuses(reader) == [200, 200, 200, 403]
    assert service.client.get("/v1/sessions", headers=other).json()["items"] == []
    assert (
        problems_of(service.client.post("/v1/sessions", json={"database": "prod"}, headers=other))[0][0] == "database"
    )
    events = service.repository.events(0, limit=100)
    assert {(event.kind, event.study, event.project) for event in events} == {("session", session["id"], "default")}


def test_a_session_that_is_over_can_be_deleted(service: Service, server: FakeServer) -> None:
    session = begin(service)
    refused = service.client.delete(f"/v1/sessions/{session['id']}")
    runner = writer(service, session)
    runner.commit(began(), measured())
    runner.finish()

    done = service.client.delete(f"/v1/sessions/{session['id']}")

    assert (refused.status_code, done.status_code) == (409, 204)
    assert service.client.get(f"/v1/sessions/{session['id']}").status_code == 404
    last = service.repository.events(0, limit=100)[-1]
    assert (last.kind, last.body["state"]) == ("session", "deleted")


@sqlite_only
def test_pages_offer_what_their_readers_token_allows(service: Service, server: FakeServer) -> None:
    session = begin(service)
    tokens = {scope: make_token(service, scope) for scope in (Scope.READ, Scope.WRITE)}
    pass_time(service, auth.OPEN_SECONDS)

    def offers(path: str, button: str) -> dict[Scope, bool]:
        return {
            scope: button in service.client.get(path, headers=bearer(token)).text for scope, token in tokens.items()
        }

    steering = offers(f"/sessions/{session['id']}", 'id="stop"')
    answering = offers("/labelling", 'data-answer="yes"')

    assert steering == answering == {Scope.READ: False, Scope.WRITE: True}


@sqlite_only
def test_what_people_do_is_in_the_audit_trail(service: Service, server: FakeServer) -> None:
    session = begin(service)
    service.client.post(f"/v1/sessions/{session['id']}:stop")
    service.client.post("/v1/databases", json=attachment(name="x", host="other.example"))
    writer(service, session).finish()
    service.client.delete(f"/v1/databases/{session['database']}")

    wanted = {
        ("POST", "/v1/databases", "201"),
        ("POST", "/v1/databases", "422"),
        ("POST", "/v1/sessions", "201"),
        ("POST", f"/v1/sessions/{session['id']}:stop", "202"),
        ("DELETE", f"/v1/databases/{session['database']}", "204"),
    }
    found: set[tuple[str, str, str]] = set()
    for _ in range(200):
        items = service.client.get("/v1/audit").json()["items"]
        found = {(entry["verb"], entry["resource"], entry["outcome"]) for entry in items}
        if wanted <= found:
            break

    assert wanted <= found


@sqlite_only
def test_metrics_count_sessions_by_state(service: Service, server: FakeServer) -> None:
    runner = writer(service, begin(service))
    runner.commit(intended(), touched=True, state=SessionState.RESTORING)

    text = service.client.get("/metrics").text

    assert 'tunewright_sessions{state="restoring"} 1.0' in text
    assert 'tunewright_sessions{state="running"} 0.0' in text
    assert "tunewright_sessions_touched 1.0" in text


@sqlite_only
def test_an_address_with_a_verb_allows_what_is_documented_of_it(service: Service) -> None:
    for path in ("/v1/sessions/x:stop", "/v1/databases/x:probe"):
        answer = service.client.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert service.client.put("/v1/sessions/x").headers["allow"] == "DELETE, GET"
