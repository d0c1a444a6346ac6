"""Attaching databases over REST: what is kept, what is refused, and who may."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from db_knobs.errors import ConnectionLost, LoginRefused, UnknownServer
from db_knobs.lab.postgres import PrivatePostgres
from service import auth
from service import databases as databases_module
from service.store.engine import writing
from service.store.tables import DatabaseRow
from tests.service.access import bearer, make_token, pass_time
from tests.service.conftest import Service, sqlite_only
from tests.service.live_databases import (
    GRANT,
    FakeServer,
    attach,
    attachment,
    begin,
    everything_stored,
    problems_of,
    use,
)
from tests.service.session_runners import Writer
from tunewright.access import Scope

CANARY = "zq-canary-7319"


@pytest.fixture
def server(service: Service) -> FakeServer:
    found = FakeServer()
    use(service, found)
    return found


@pytest.fixture(scope="module")
def shared_server(shared_service: Service) -> FakeServer:
    """One that nobody is to connect to."""
    found = FakeServer()
    use(shared_service, found)
    return found


def test_an_attached_database_is_shown_with_what_was_found_and_without_its_password(
    service: Service, server: FakeServer
) -> None:
    made = attach(service, password=CANARY)

    assert server.met[0].password.secret == CANARY
    assert (made["kind"], made["host"], made["port"], made["user"], made["database"]) == (
        "postgresql",
        "db.example",
        5432,
        "tuner",
        "shop",
    )
    assert (made["password"], made["tls"], made["project"], made["session"]) == ("stored", "prefer", "default", None)
    assert (made["probe"]["version"], made["probe"]["role"], made["probe"]["missing"]) == ("15.6", "tuner", [])
    assert service.client.get(f"/v1/databases/{made['id']}").json() == made
    assert service.client.get("/v1/databases").json()["items"] == [made]


def test_its_password_is_had_again_when_it_is_looked_at(service: Service, server: FakeServer) -> None:
    made = attach(service, dsn=f"postgresql://tuner:{CANARY}@db.example/shop", **dict.fromkeys(_PARTS))

    answer = service.client.post(f"/v1/databases/{made['id']}:probe")
    server.grants = False
    changed = service.client.post(f"/v1/databases/{made['id']}:probe").json()

    assert answer.status_code == 200
    assert [address.password.secret for address in server.met] == [CANARY] * 3
    assert (answer.json()["missing"], changed["missing"]) == ([], [GRANT])
    assert service.client.get(f"/v1/databases/{made['id']}").json()["probe"] == changed


_PARTS = ("kind", "host", "user", "database")


def test_a_dry_run_keeps_nothing(service: Service, server: FakeServer) -> None:
    server.grants = False

    answer = service.client.post("/v1/databases?dry_run=true", json=attachment(password=CANARY))

    found = answer.json()
    assert (answer.status_code, found["id"], found["password"]) == (200, "", "stored")
    assert found["probe"]["missing"] == [GRANT]
    assert [c["remedy"] for c in found["probe"]["capabilities"] if c["name"] == "apply"] == [GRANT]
    assert service.client.get("/v1/databases").json()["items"] == []
    assert not any(CANARY in row or "db.example" in row for row in everything_stored(service))


@sqlite_only
def test_a_reference_is_kept_as_a_reference(
    service: Service, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "TUNEWRIGHT_DATABASE_PASSWORD_PROD"
    monkeypatch.setenv(name, CANARY)

    made = attach(service, password_env=name)
    monkeypatch.delenv(name)
    gone = service.client.post(f"/v1/databases/{made['id']}:probe")

    assert (made["password"], server.met[0].password.secret) == (f"env {name}", CANARY)
    assert gone.status_code == 409
    assert f"{name} is not set" in gone.json()["detail"]


@sqlite_only
@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"host": "other.example"}, "host", "TUNEWRIGHT_DATABASE_HOSTS"),
        ({"host": "db.example,evil.example"}, "host", "names several hosts"),
        ({"kind": "oracle"}, "kind", "postgresql"),
        ({"port": 0}, "port", "1"),
        ({"host": None}, "body", "dsn: give it, or else kind, host and user"),
        ({"dsn": "postgresql://u@db.example/shop"}, "body", "give it or them"),
        ({"database": None}, "database", "PostgreSQL keeps statistics for each database"),
        ({"password": "a", "password_env": "TUNEWRIGHT_DATABASE_A"}, "body", "give one of"),
        ({"password_env": "HOME"}, "password_env", "must begin with TUNEWRIGHT_DATABASE_"),
        ({"password_env": "TUNEWRIGHT_DATABASE_URL"}, "password_env", "a setting of the service"),
        ({"password_env": "TUNEWRIGHT_DATABASE_NOT_THERE"}, "password_env", "is not set"),
        ({"password_file": "../x"}, "password_file", "a file's name alone"),
        ({"password_file": "x"}, "password_file", "TUNEWRIGHT_SECRETS_DIR"),
        ({"tls": "maybe"}, "tls", "verify-full"),
        ({"name": " x"}, "name", "plainly"),
        ({"passwort": CANARY}, "passwort", "not permitted"),
        ({"ram_bytes": 5}, "ram_bytes", "1048576"),
    ],
)
def test_a_wrong_field_is_named_before_anybody_is_connected_to(
    shared_service: Service, shared_server: FakeServer, fields: dict[str, Any], field: str, words: str
) -> None:
    answer = shared_service.client.post("/v1/databases", json=attachment(**fields))

    ((named, message),) = problems_of(answer)
    assert named == field
    assert words in message
    assert shared_server.met == []


@sqlite_only
@pytest.mark.parametrize(
    ("error", "field"),
    [
        (LoginRefused('password authentication failed for user "tuner"'), "user"),
        (ConnectionLost("postgresql://tuner@db.example:5432/shop: connection refused"), "host"),
        (UnknownServer("PostgreSQL 9.6; known are 13 to 18"), "kind"),
    ],
)
def test_a_database_that_does_not_let_us_in_is_not_attached(
    service: Service, server: FakeServer, error: Any, field: str
) -> None:
    server.refuses = error

    by_parts = problems_of(service.client.post("/v1/databases", json=attachment(password=CANARY)))
    url = f"postgresql://tuner:{CANARY}@db.example/shop"
    by_url = problems_of(service.client.post("/v1/databases", json={"name": "prod", "dsn": url}))

    assert by_parts == [(field, str(error))]
    assert by_url == [("dsn", str(error))]
    assert service.client.get("/v1/databases").json()["items"] == []


@sqlite_only
def test_an_attached_database_that_is_away_is_a_conflict_in_words(service: Service, server: FakeServer) -> None:
    made = attach(service)
    server.refuses = ConnectionLost("nobody answers")

    for answer in (
        service.client.post(f"/v1/databases/{made['id']}:probe"),
        service.client.get(f"/v1/databases/{made['id']}/knobs"),
    ):
        assert answer.status_code == 409
        assert answer.json()["detail"] == 'database "prod": nobody answers'


@sqlite_only
def test_a_database_that_hangs_is_waited_for_no_longer_than_the_limit(
    service: Service, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases_module, "REACH_SECONDS", 0.2)
    server.hangs = threading.Event()

    ((field, message),) = problems_of(service.client.post("/v1/databases", json=attachment()))
    server.hangs.set()

    assert (field, message) == ("host", "it did not answer within 0.2 seconds; see whether it is busy")
    assert service.client.get("/v1/databases").json()["items"] == []


def test_a_name_is_unique_in_its_project(service: Service, server: FakeServer) -> None:
    attach(service, project="a")

    again = service.client.post("/v1/databases", json=attachment(project="a"))
    other = service.client.post("/v1/databases", json=attachment(project="b"))

    assert (again.status_code, other.status_code) == (409, 201)
    assert 'has a database "prod" already' in again.json()["detail"]
    assert [each["project"] for each in service.client.get("/v1/databases?name=prod").json()["items"]] == ["b", "a"]


def test_a_repeated_request_attaches_once(service: Service, server: FakeServer) -> None:
    headers = {"Idempotency-Key": "k"}
    first = service.client.post("/v1/databases", json=attachment(password=CANARY), headers=headers)

    again = service.client.post("/v1/databases", json=attachment(password=CANARY), headers=headers)
    other = service.client.post("/v1/databases", json=attachment(name="other"), headers=headers)

    assert again.json() == first.json()
    assert other.status_code == 409

    assert service.client.delete(f"/v1/databases/{first.json()['id']}").status_code == 204
    anew = service.client.post("/v1/databases", json=attachment(password=CANARY), headers=headers)
    assert anew.status_code == 201
    assert anew.json()["id"] != first.json()["id"]


def test_a_key_is_of_one_address_also_where_that_stands_in_a_dsn(service: Service, server: FakeServer) -> None:
    def attached(database: str) -> Any:
        body = {"name": "prod", "dsn": f"postgresql://tuner:{CANARY}@db.example/{database}"}
        return service.client.post("/v1/databases", json=body, headers={"Idempotency-Key": "k"})

    assert [attached("shop").status_code, attached("other").status_code, attached("shop").status_code] == [
        201,
        409,
        201,
    ]


def test_a_filter_that_no_store_can_hold_is_named(service: Service, server: FakeServer) -> None:
    for path, field in (("/v1/databases?name=a%00b", "name"), ("/v1/sessions?database=a%00b", "database")):
        answer = service.client.get(path)

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field


def test_lists_have_pages(service: Service, server: FakeServer) -> None:
    ids = [attach(service, name=f"n{number}")["id"] for number in range(3)]

    first = service.client.get("/v1/databases?limit=2").json()
    second = service.client.get(f"/v1/databases?limit=2&cursor={first['next_cursor']}").json()

    assert [each["id"] for each in first["items"] + second["items"]] == ids[::-1]
    assert second["next_cursor"] is None
    assert problems_of(service.client.get("/v1/databases?cursor=x"))[0][0] == "cursor"


def test_knobs_say_what_they_are_and_in_which_words_the_dangerous_ones_are_accepted(
    service: Service, server: FakeServer
) -> None:
    knobs = service.client.get(f"/v1/databases/{attach(service)['id']}/knobs").json()

    by_name = {knob["name"]: knob for knob in knobs}
    online = {"work_mem", "random_page_cost", "jit", "fsync", "synchronous_commit"}
    assert set(by_name) == online | {"shared_buffers", "max_connections"}
    assert (by_name["shared_buffers"]["applies"], by_name["shared_buffers"]["offered"]) == ("restart", False)
    assert (by_name["work_mem"]["current"], by_name["work_mem"]["unit"]) == (4096, "kB")
    assert by_name["work_mem"]["offered"]
    assert not by_name["fsync"]["offered"]
    assert "unreadable" in by_name["fsync"]["loses"]


def test_a_database_is_not_detached_while_a_session_on_it_is_not_over(
    service: Service, server: FakeServer, store_url: str
) -> None:
    made = attach(service)
    session = begin(service)["id"]
    assert service.client.get(f"/v1/databases/{made['id']}").json()["session"] == session

    refused = service.client.delete(f"/v1/databases/{made['id']}")
    Writer.of(service.repository.engine, store_url, session).finish()
    done = service.client.delete(f"/v1/databases/{made['id']}")

    assert (refused.status_code, done.status_code) == (409, 204)
    assert f"session {session}" in refused.json()["detail"]
    assert service.client.get(f"/v1/databases/{made['id']}").status_code == 404
    assert service.client.get(f"/v1/sessions/{session}").json()["database_name"] == "prod", "what it did is still known"


@sqlite_only
def test_attaching_takes_an_admin_and_nobody_meets_anothers_database(service: Service, server: FakeServer) -> None:
    made = attach(service, project="a")
    admin = {project: bearer(make_token(service, Scope.ADMIN, project)) for project in ("a", "b")}
    writer = bearer(make_token(service, Scope.WRITE, "a"))
    pass_time(service, auth.OPEN_SECONDS)

    def statuses(headers: dict[str, str]) -> list[int]:
        path = f"/v1/databases/{made['id']}"
        calls = [("GET", path), ("GET", f"{path}/knobs"), ("POST", f"{path}:probe")]
        return [service.client.request(method, url, headers=headers).status_code for method, url in calls]

    assert statuses(admin["a"]) == statuses(writer) == [200, 200, 200]
    assert statuses(admin["b"]) == [404, 404, 404]
    assert service.client.get("/v1/databases", headers=admin["b"]).json()["items"] == []
    assert service.client.post("/v1/databases", json=attachment(name="x"), headers=writer).status_code == 403
    assert service.client.post("/v1/databases", json=attachment(project="a"), headers=admin["b"]).status_code == 403
    assert service.client.post("/v1/databases", json=attachment(), headers=admin["b"]).json()["project"] == "b"
    assert service.client.delete(f"/v1/databases/{made['id']}", headers=admin["b"]).status_code == 404
    change = {"url": f"/v1/databases/{made['id']}:password", "json": {"password": "x"}}
    by = [service.client.post(**change, headers=headers).status_code for headers in (admin["b"], writer, admin["a"])]
    assert by == [404, 403, 200]


@sqlite_only
def test_a_host_that_is_allowed_no_more_is_not_connected_to(service: Service, server: FakeServer) -> None:
    made = attach(service)
    with writing(service.repository.engine) as connection:
        connection.execute(update(DatabaseRow).values(host="evil.example"))
    server.met.clear()

    answer = service.client.post(f"/v1/databases/{made['id']}:probe")

    assert problems_of(answer)[0][0] == "host"
    assert server.met == []


def test_a_new_password_is_tried_and_then_takes_the_place_of_the_former(service: Service, server: FakeServer) -> None:
    made = attach(service, password="former")
    begin(service)
    path = f"/v1/databases/{made['id']}"

    answer = service.client.post(f"{path}:password", json={"password": CANARY})
    service.client.post(f"{path}:probe")

    assert (answer.status_code, answer.json()) == (200, service.client.get(path).json() | {"probe": made["probe"]})
    assert [address.password.secret for address in server.met[-2:]] == [CANARY, CANARY]
    assert not any(CANARY in row for row in everything_stored(service))


@sqlite_only
def test_a_stored_password_makes_room_for_a_reference_and_for_none(
    service: Service, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEWRIGHT_DATABASE_PASSWORD_PROD", CANARY)
    path = f"/v1/databases/{attach(service, password='former')['id']}"

    def become(**given: str) -> str:
        service.client.post(f"{path}:password", json=given)
        service.client.post(f"{path}:probe")
        shown: str = service.client.get(path).json()["password"]
        return f"{shown}, {server.met[-1].password.secret}"

    assert (
        become(password_env="TUNEWRIGHT_DATABASE_PASSWORD_PROD") == f"env TUNEWRIGHT_DATABASE_PASSWORD_PROD, {CANARY}"
    )
    assert become(password="") == "none, "
    assert become(password="again") == "stored, again"


@sqlite_only
@pytest.mark.parametrize(
    ("error", "status", "words", "fields"),
    [
        (LoginRefused('password authentication failed for user "tuner"'), 422, "authentication failed", ["password"]),
        (ConnectionLost("nobody answers"), 409, 'database "prod": nobody answers', []),
    ],
)
def test_a_password_that_does_not_let_us_in_is_not_kept(
    service: Service, server: FakeServer, error: Any, status: int, words: str, fields: list[str]
) -> None:
    path = f"/v1/databases/{attach(service, password='former')['id']}"
    server.refuses = error

    answer = service.client.post(f"{path}:password", json={"password": CANARY})
    server.refuses = None
    service.client.post(f"{path}:probe")

    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert [each["field"] for each in answer.json().get("errors") or []] == fields
    assert server.met[-1].password.secret == "former"


@sqlite_only
@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "body", "password: give it, or password_env or password_file"),
        ({"password": CANARY, "password_file": "x"}, "body", "give one of"),
        ({"password": CANARY, "name": "x"}, "name", "not permitted"),
        ({"password": [CANARY]}, "password", "string"),
        ({"password_env": "TUNEWRIGHT_DATABASE_URL"}, "password_env", "a setting of the service"),
        ({"password_file": "x"}, "password_file", "TUNEWRIGHT_SECRETS_DIR"),
    ],
)
def test_what_is_no_new_password_is_refused_and_not_quoted(
    service: Service, server: FakeServer, body: dict[str, Any], field: str, words: str
) -> None:
    path = f"/v1/databases/{attach(service)['id']}"
    server.met.clear()

    answer = service.client.post(f"{path}:password", json=body)

    ((found, message), *_) = problems_of(answer)
    assert (found, words in message, CANARY in answer.text, server.met) == (field, True, False, [])
    assert service.client.post("/v1/databases/0000000000000000:password", json={"password": "x"}).status_code == 404


@pytest.fixture
def quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


def test_no_password_is_anywhere_after_success_and_failures(
    service: Service, server: FakeServer, quiet_log: pytest.LogCaptureFixture, store_url: str, tmp_path: Path
) -> None:
    said: list[str] = []

    def send(method: str, path: str, **kwargs: Any) -> Any:
        answer = service.client.request(method, path, **kwargs)
        said.extend((answer.text, str(answer.headers)))
        return answer

    url = f"postgresql://tuner:{CANARY}@db.example/shop"
    made = send("POST", "/v1/databases", json=attachment(password=CANARY)).json()
    send("POST", "/v1/databases", json={"name": "by-url", "dsn": url})
    for body in (
        {"name": "a", "dsn": url, "password": CANARY, "nonsense": CANARY},
        {"name": "a", "dsn": f"postgresql://tuner:1/{CANARY}@db.example/shop"},
        {"name": "a", "dsn": [url]},
        attachment(password=[CANARY]),
        attachment(password={"a": CANARY}),
        attachment(password="x" * 2000 + CANARY),
        attachment(password=f"{CANARY}", port=99_999),
        attachment(password=f"{CANARY}", host="other.example"),
    ):
        assert send("POST", "/v1/databases", json=body).status_code == 422
    for text in (f'{{"password": "{CANARY}\\u0000"}}', f'{{"password": "{CANARY}', f'{{"{CANARY}": 1, "{CANARY}": 2}}'):
        assert send("POST", "/v1/databases", content=text).status_code == 422
    for body in ({"password": CANARY}, {"password": [CANARY]}, {"password": CANARY * 99}):
        send("POST", f"/v1/databases/{made['id']}:password", json=body)
    session = send("POST", "/v1/sessions", json={"database": "prod"}).json()["id"]
    Writer.of(service.repository.engine, store_url, session).finish()
    for error in (ConnectionLost("gone"), RuntimeError("a mistake of ours")):
        server.refuses = error  # type: ignore[assignment]
        send("POST", "/v1/databases", json=attachment(name="c", password=CANARY))
        send("POST", f"/v1/databases/{made['id']}:probe")
        send("GET", f"/v1/databases/{made['id']}/knobs")
    send("GET", "/v1/databases")
    send("GET", "/v1/audit")
    send("GET", f"/v1/sessions/{session}")
    send("GET", "/metrics")

    logged = [quiet_log.handler.format(record) for record in quiet_log.records]
    assert any("a mistake of ours" in line for line in logged), "a traceback is in the log"
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(CANARY in text for text in [*said, *logged, *everything_stored(service)])
    assert not any(CANARY.encode() in content for content in files)


@pytest.fixture
def live(service: Service, postgres: PrivatePostgres) -> Iterator[dict[str, Any]]:
    """A role on a real server that may do nothing in particular, as an attachment's fields."""
    postgres.execute(f"CREATE ROLE tuner LOGIN PASSWORD '{CANARY}'")
    name = postgres.create_database()
    yield {
        "kind": "postgresql",
        "host": "127.0.0.1",
        "port": postgres.port,
        "user": "tuner",
        "database": name,
        "password": CANARY,
    }
    postgres.drop_database(name)
    postgres.execute("DROP OWNED BY tuner")
    postgres.execute("DROP ROLE tuner")


@sqlite_only
def test_on_a_real_server_the_missing_grants_are_told_and_are_enough(
    service: Service, postgres: PrivatePostgres, live: dict[str, Any], quiet_log: pytest.LogCaptureFixture
) -> None:
    client = service.client
    wrong = client.post("/v1/databases", json={"name": "real", **live, "password": f"{CANARY}-wrong"})
    nobody = client.post("/v1/databases", json={"name": "real", **live, "port": 1})
    dry = client.post("/v1/databases?dry_run=true", json={"name": "real", **live}).json()
    made = client.post("/v1/databases", json={"name": "real", **live}).json()
    refused = client.post("/v1/sessions", json={"database": "real"})
    advice = client.post("/v1/sessions", json={"database": "real", "mode": "advice"})
    for statement in dry["probe"]["missing"]:
        # Rights on functions are those of one database.
        postgres.execute(statement, live["database"])
    granted = client.post(f"/v1/databases/{made['id']}:probe").json()

    assert "tuner" in problems_of(wrong)[0][1]
    assert problems_of(wrong)[0][0] == "user"
    assert problems_of(nobody)[0][0] == "host"
    assert made["probe"]["version"].startswith("15.")
    assert any("GRANT ALTER SYSTEM ON PARAMETER" in statement for statement in dry["probe"]["missing"])
    assert (granted["missing"], granted["role"]) == ([], "tuner")
    assert problems_of(refused)[0][0] == "mode"
    assert "GRANT ALTER SYSTEM" in problems_of(refused)[0][1]
    assert advice.status_code == 201
    assert len(client.get(f"/v1/databases/{made['id']}/knobs").json()) > 20
    told = [wrong.text, nobody.text, json.dumps(dry), json.dumps(made), refused.text, *everything_stored(service)]
    logged = [quiet_log.handler.format(record) for record in quiet_log.records]
    assert not any(CANARY in text for text in [*told, *logged])
