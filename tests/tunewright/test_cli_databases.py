"""The commands about databases and sessions, against the real API and a real PostgreSQL server."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from typer.testing import CliRunner, Result

from db_knobs.address import parse_dsn
from db_knobs.database import FormerSetting
from db_knobs.knob import Applies, Knob
from db_knobs.lab.postgres import PrivatePostgres
from optimizers.onlinetune import Suggestion
from tests.tunewright.live_service import LiveService
from tests.tunewright.session_writer import BETTER, FORMER, SessionWriter, attach
from tunewright.cli import app
from tunewright.client import Client
from tunewright.session import Range, Restarts, SessionBudget, SessionSpec, SessionState
from tunewright.session_views import SessionView
from workers.session_journal import Began, Intended, Noticed, RestartIntended, Restored, Skipped
from workers.session_knobs import plain

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("address")]


@pytest.fixture
def begin(service: LiveService, request: pytest.FixtureRequest) -> Callable[..., SessionWriter]:
    """Begins a session on a database of its own."""

    def begin(**fields: Any) -> SessionWriter:
        engine, url = service.repository.engine, service.settings.store_url
        writer = SessionWriter(engine, url, attach(engine, request.node.name[-60:]), **fields)
        request.addfinalizer(writer.let_go)
        return writer

    return begin


@pytest.fixture
def tuner(postgres: PrivatePostgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """DSN, without its password, of a role that may only log in; the password is `canary`."""
    database = postgres.create_database()
    role = f"tuner_{database}"
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'canary'")
    yield f"postgresql://{role}@127.0.0.1:{postgres.port}/{database}"
    # Rights on parameters are the server's, not the database's.
    postgres.execute(f"DROP OWNED BY {role}")
    postgres.execute(f"DROP OWNED BY {role}", database)
    postgres.drop_database(database)
    postgres.execute(f"DROP ROLE {role}")


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def rows(result: Result) -> list[dict[str, str]]:
    """Tab-separated output, by column."""
    assert result.exit_code == 0, result.output
    names, *lines = (line.split("\t") for line in result.stdout.splitlines())
    return [dict(zip(names, line, strict=True)) for line in lines]


def fields(result: Result, name: str) -> list[str]:
    """What stands after a name, in lines of two cells."""
    pairs = (line.split("\t") for line in result.stdout.splitlines())
    return [pair[1] for pair in pairs if pair[0] == name]


# Databases


def test_attach_says_which_grants_are_missing_and_running_them_helps(postgres: PrivatePostgres, tuner: str) -> None:
    looked = run("attach", tuner, "--name", "grants", "--password-stdin", "--dry-run", stdin="canary\n")

    assert looked.exit_code == 1
    missing = fields(looked, "missing")
    assert any("GRANT ALTER SYSTEM ON PARAMETER" in statement for statement in missing)
    assert "canary" not in looked.output
    for statement in missing:
        postgres.execute(statement, database=tuner.rpartition("/")[2])

    attached = run("attach", tuner, "--name", "grants", "--password-stdin", stdin="canary\n")

    assert attached.exit_code == 0, attached.output
    assert fields(attached, "missing") == []
    assert fields(attached, "password") == ["stored"]
    assert fields(attached, "works.apply") == ["yes"]
    assert [row["name"] for row in rows(run("databases"))] == ["grants"]
    assert fields(run("probe", "grants"), "role") == [tuner.split("@")[0].removeprefix("postgresql://")]
    assert run("detach", "grants").stdout == "database grants is detached\n"


def test_a_password_that_the_server_changed_is_replaced(postgres: PrivatePostgres, tuner: str) -> None:
    role = tuner.split("@")[0].removeprefix("postgresql://")
    assert run("attach", tuner, "--name", "rotated", "--password-stdin", stdin="canary\n").exit_code == 0
    postgres.execute(f"ALTER ROLE {role} PASSWORD 'canary-2'")

    away = run("probe", "rotated")
    wrong = run("password", "rotated", "--password-stdin", stdin="canary\n")
    missing = run("password", "rotated")
    done = run("password", "rotated", "--password-stdin", stdin="canary-2\n")

    assert (away.exit_code, wrong.exit_code, missing.exit_code) == (1, 1, 2)
    assert "password authentication failed" in wrong.stderr
    assert "--password-stdin" in missing.stderr
    assert done.stdout == "database rotated lets us in with the new password: stored\n"
    assert run("probe", "rotated").exit_code == 0
    assert run("detach", "rotated").exit_code == 0


def test_a_password_in_the_dsn_is_warned_of_and_not_shown(postgres: PrivatePostgres) -> None:
    result = run("attach", postgres.dsn(), "--name", "warned", "--json")

    assert result.exit_code == 0, result.output
    assert "Warning: the password stands in the DSN" in result.stderr
    assert postgres.password not in result.output
    assert json.loads(result.stdout)["password"] == "stored"
    assert run("detach", "warned").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["postgresql://a:b@h/d", "--name", "x", "--password-stdin"], "password: it is given in several ways"),
        (["postgresql://a@h/d", "--name", "x", "--ram", "much"], 'ram "much": give a number and kB, MB, GB, TB'),
        (["postgresql://a@h/d", "--name", "x", "--password-env", "HOME"], "password_env"),
        (["oracle://a@h/d", "--name", "x"], "the scheme must be one of"),
        (["postgresql://a@db.example/d", "--name", "x"], "db.example"),
    ],
)
def test_attach_says_what_is_wrong(arguments: list[str], message: str) -> None:
    result = run("attach", *arguments)

    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_knobs_show_where_they_stand_and_what_must_be_accepted(postgres: PrivatePostgres) -> None:
    run("attach", postgres.dsn(), "--name", "knobs")

    offered = {row["knob"]: row for row in rows(run("knobs", "knobs"))}
    every = {row["knob"]: row for row in rows(run("knobs", "knobs", "--all"))}

    assert (offered["work_mem"]["now"], offered["work_mem"]["unit"]) == ("4096", "kB")
    assert offered["jit"]["range"] == "on, off"
    assert "synchronous_commit" not in offered
    assert "crash" in every["synchronous_commit"]["accept_with"]
    assert run("detach", "knobs").exit_code == 0


def test_an_unknown_database_is_named() -> None:
    result = run("knobs", "nowhere")

    assert (result.exit_code, result.stderr) == (
        2,
        'Error: no attached database is called "nowhere"; see: tunewright databases\n',
    )


# Sessions


def test_tune_db_takes_options_over_a_file(postgres: PrivatePostgres, tmp_path: Path) -> None:
    run("attach", postgres.dsn(), "--name", "tuned")
    file = tmp_path / "session.yaml"
    file.write_text("database: tuned\nknobs: [work_mem]\ninterval: 30\nmargin: 0.1\n")

    result = run(
        *("tune-db", str(file), "--interval", "10s", "--budget", "30m", "--advice", "--json"),
        *("--objective", "throughput=0.7", "--objective", "latency_mean=0.3", "--bound", "work_mem=2048:65536"),
    )

    assert result.exit_code == 0, result.output
    spec = json.loads(result.stdout)["spec"]
    assert (spec["interval"], spec["margin"], spec["mode"], spec["knobs"]) == (10.0, 0.1, "advice", ["work_mem"])
    assert spec["budget"] == {"intervals": None, "seconds": 1800.0}
    assert spec["objective"] == {"throughput": 0.7, "latency_mean": 0.3}
    assert spec["bounds"] == {"work_mem": {"low": 2048.0, "high": 65536.0}}
    assert run("sessions", "stop", "last").exit_code == 0


def test_an_option_leaves_what_else_the_file_says_of_bounds_budget_and_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SessionSpec] = []

    def create(_client: Client, spec: SessionSpec) -> SessionView:
        asked.append(spec)
        raise typer.Exit

    monkeypatch.setattr(Client, "create_session", create)
    file = tmp_path / "session.yaml"
    file.write_text(
        """
        database: prod
        knobs: [work_mem, max_wal_size, shared_buffers]
        bounds: {work_mem: {low: 4096, high: 8192}, max_wal_size: {low: 1024, high: 2048}}
        accepted: {fsync: in these words}
        budget: {seconds: 3600}
        restarts: {command: prod, window: "02:00-04:00", most: 1}
        """
    )

    run("tune-db", str(file), "--bound", "work_mem=4096:6144", "--accept", "full_page_writes=and these")
    run("tune-db", str(file), "--intervals", "100", "--window", "03:00-03:30")

    first, second = asked
    assert first.bounds == {"work_mem": Range(low=4096, high=6144), "max_wal_size": Range(low=1024, high=2048)}
    assert first.accepted == {"fsync": "in these words", "full_page_writes": "and these"}
    assert second.budget == SessionBudget(seconds=3600, intervals=100)
    assert second.restarts == Restarts(command="prod", window="03:00-03:30", most=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prod", "--objective", "speed"], '"speed" is none of throughput'),
        (["prod", "--interval", "soon"], 'interval "soon": give a number and s, m, h or d'),
        (["prod", "--bound", "work_mem"], 'bound "work_mem": give KNOB=LOW:HIGH'),
        (["prod", "--bound", "work_mem=9:1"], "low (9.0) must be below high (1.0)"),
        (["prod", "--accept", "fsync"], 'accept "fsync": give KNOB=WORDS'),
        (["prod", "--restart", "systemd"], "give --restart and --window together"),
        (["prod", "--knobs", "jit", "--restart", "systemd", "--window", "noon"], "restarts.window"),
        (["missing.yaml"], "missing.yaml"),
    ],
)
def test_tune_db_says_what_is_wrong(arguments: list[str], message: str) -> None:
    result = run("tune-db", *arguments)

    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_tune_db_says_that_nobody_knows_the_database() -> None:
    result = run("tune-db", "nowhere")

    assert result.exit_code == 1
    assert '"nowhere" is the id or name of no attached database' in result.stderr


def test_sessions_are_listed_and_shown(begin: Callable[..., SessionWriter]) -> None:
    writer = begin()
    writer.begin()
    writer.interval()
    writer.interval(BETTER, 130.0)

    (listed,) = [row for row in rows(run("sessions", "--state", "running")) if row["session"] == writer.id]
    shown = run("sessions", "show", writer.id[:12])

    assert (listed["gain"], listed["intervals"], listed["changed_now"]) == ("+12.0%", "2", "yes")
    assert "jit\ton\toff\t-\tchanged" in shown.stdout
    assert "max_wal_size\t1024\t1024\tMB\t-" in shown.stdout
    assert run("sessions", "show", "nope").exit_code == 2


def test_a_session_shows_what_stood_in_the_servers_own_file(begin: Callable[..., SessionWriter]) -> None:
    writer = begin()
    former = {"work_mem": FormerSetting(value=65536, text="64MB"), "jit": FormerSetting(value=True, text=None)}
    writer.commit(Began(former, {"work_mem": 65536, "jit": True}, {}, ("arrivals",)))

    shown = run("sessions", "show", writer.id)

    lines = [line.split("\t") for line in shown.stdout.splitlines()]
    assert {line[0]: line[-1] for line in lines if line[0] in former} == {"work_mem": "64MB", "jit": "-"}


def test_a_session_is_followed_line_by_line(begin: Callable[..., SessionWriter]) -> None:
    writer = begin()
    writer.begin()
    writer.interval()

    def go_on() -> None:
        writer.interval(BETTER, 130.0)
        why = {"rule": "advice, taken once to see", "advised by rule": "pg-max-wal-size"}
        writer.interval({**BETTER, "max_wal_size": 512}, 80.0, unsafe=True, aborted=True, seconds=2.0, why=why)
        writer.commit(Skipped(1.0, "too little traffic"))
        writer.commit(Noticed(1.0, "clamped", "the server made 8 of 9"), Restored(1.0, dict(FORMER)), touched=False)
        writer.commit(state=SessionState.FINISHED, reason="the budget is used up")

    later = threading.Timer(0.3, go_on)
    later.start()
    result = run("sessions", "watch", writer.id)
    later.join()

    assert result.exit_code == 0
    told = [line.split("\t")[1:] for line in result.stdout.splitlines()]
    intervals = [text for what, text in told if what == "interval"]
    assert intervals[0] == "100 requests/s; +0.0% against the former settings"
    assert (
        "+30.0% against the former settings; set work_mem 4096 -> 16384 kB, random_page_cost 4 -> 1.1" in intervals[1]
    )
    assert "because: most promising of the safe settings, expected +10.0%, at worst +1.0%" in intervals[1]
    assert "ended early after 2 s; UNSAFE; set max_wal_size 1024 -> 512 MB" in intervals[2]
    assert "because: advice, taken once to see" in intervals[2]
    assert "advised by the rule pg-max-wal-size" in intervals[2]
    assert intervals[3] == "not judged: too little traffic"
    assert ["notice", "the server made 8 of 9"] in told
    assert told[-1] == ["state", "finished: the budget is used up"]


@pytest.mark.parametrize("every", [False, True])
def test_a_command_is_run_when_a_pool_has_to_renew_its_connections(
    begin: Callable[..., SessionWriter], tmp_path: Path, every: bool
) -> None:
    writer = begin()
    writer.begin()
    heard = tmp_path / "heard"

    def told() -> list[str]:
        return heard.read_text().splitlines() if heard.exists() else []

    def act() -> None:
        # Until it listens.
        for value in itertools.cycle([16384, 32768]):
            writer.stand({"work_mem": value})
            time.sleep(0.2)
            if told():
                break
        writer.stand({"work_mem": value, "jit": False})
        while every and "-x jit" not in told():
            time.sleep(0.1)
        writer.commit(Restored(1.0, dict(FORMER)), state=SessionState.FINISHED)

    # Fails where more than one setting has changed.
    script = 'echo "$1 $TUNEWRIGHT_CHANGED" >> "$2"; test "$TUNEWRIGHT_CHANGED" != work_mem,jit'
    acting = threading.Thread(target=act)
    acting.start()
    options = ["--every"] if every else []
    result = run("sessions", "on-change", writer.id, *options, "--", "sh", "-c", script, "sh", "-x", str(heard))
    acting.join()

    assert result.exit_code == int(every), result.output
    assert ("status 1" in result.output) == every
    assert (told()[0], told()[-1]) == ("-x work_mem", "-x work_mem,jit" if every else "-x work_mem")
    assert set(told()) == ({"-x work_mem", "-x jit", "-x work_mem,jit"} if every else {"-x work_mem"})


def test_a_command_that_is_not_there_is_refused_before_it_is_needed(begin: Callable[..., SessionWriter]) -> None:
    result = run("sessions", "on-change", begin().id, "--", "/nowhere/reload")

    assert result.exit_code == 2
    assert "/nowhere/reload" in result.output
    assert "after --" in result.output


def test_an_option_that_is_misspelt_is_not_taken_for_a_command(begin: Callable[..., SessionWriter]) -> None:
    result = run("sessions", "on-change", begin().id, "--evry", "--", "true")

    assert result.exit_code == 2
    assert "--evry" in result.output


def test_advice_says_what_it_would_set(begin: Callable[..., SessionWriter]) -> None:
    writer = begin(mode="advice")
    writer.begin()
    writer.interval({"jit": False})
    writer.commit(state=SessionState.YIELDED, reason="somebody else")

    result = run("sessions", "watch", writer.id)

    assert result.exit_code == 1
    assert "would set jit on -> off" in result.stdout


def test_sessions_are_steered_and_deleted(begin: Callable[..., SessionWriter]) -> None:
    writer = begin()

    assert run("sessions", "pause", writer.id).stdout == f"session {writer.id} is pausing\n"
    assert run("sessions", "resume", writer.id).stdout == f"session {writer.id} goes on\n"
    assert "is stopping" in run("sessions", "stop", writer.id).stdout
    writer.commit(state=SessionState.STOPPED)
    assert run("sessions", "delete", writer.id).stdout == f"session {writer.id} is deleted\n"


# Restore


def test_restore_stops_the_session_and_waits_until_the_settings_are_back(begin: Callable[..., SessionWriter]) -> None:
    writer = begin()
    writer.begin()
    writer.interval(BETTER)

    def put_back() -> None:
        left = {"jit": "was set by somebody else"}
        writer.commit(Restored(1.0, dict(FORMER), left), state=SessionState.STOPPED, touched=False)

    later = threading.Timer(0.3, put_back)
    later.start()
    result = run("restore", writer.id)
    later.join()

    assert result.exit_code == 0, result.output
    assert f"session {writer.id} is stopped" in result.stdout
    assert "work_mem\t4096 kB" in result.stdout
    assert "jit was left alone: was set by somebody else" in result.stdout
    assert run("restore", writer.id).exit_code == 0


def test_restore_takes_back_what_a_session_has_kept(begin: Callable[..., SessionWriter]) -> None:
    writer = begin(keep=True)
    writer.begin()
    kept = Restored(1.0, {**FORMER, "work_mem": 8192}, {"work_mem": "kept: the best safe settings"})
    writer.commit(kept, state=SessionState.FINISHED, touched=False)

    result = run("restore", writer.id, "--wait", "0.1s")

    assert result.exit_code == 1, result.output
    assert "the former settings are not back yet" in result.stdout
    assert (writer.view.state, writer.view.wanted) == (SessionState.RESTORING, "stop")
    writer.commit(Restored(2.0, dict(FORMER)), state=SessionState.STOPPED, touched=False)
    result = run("restore", writer.id)
    assert (result.exit_code, "work_mem\t4096 kB" in result.stdout) == (0, True)


def test_advice_has_kept_nothing_that_could_be_taken_back(begin: Callable[..., SessionWriter]) -> None:
    writer = begin(keep=True, mode="advice")
    writer.begin()
    writer.commit(state=SessionState.FINISHED)

    assert run("restore", writer.id).exit_code == 0
    assert writer.view.wanted == "run"


def test_restore_says_what_to_do_while_the_settings_are_not_back(begin: Callable[..., SessionWriter]) -> None:
    writer = begin()
    writer.begin()
    writer.interval(BETTER)

    result = run("restore", writer.id, "--wait", "0.1s")

    assert result.exit_code == 1
    assert "the former settings are not back yet" in result.stdout
    assert f"tunewright restore {writer.id} --direct" in result.stdout


@pytest.fixture
def abandoned(service: LiveService, postgres: PrivatePostgres) -> Iterator[SessionWriter]:
    """A session whose runner died after it had set work_mem to 8 MB on a real server."""
    engine = service.repository.engine
    database = attach(engine, "abandoned", parse_dsn(postgres.dsn().replace(f":{postgres.password}", "")))
    writer = SessionWriter(engine, service.settings.store_url, database, knobs=["work_mem", "jit"])
    former = {"work_mem": FormerSetting(value=4096, text=None), "jit": FormerSetting(value=True, text=None)}
    writer.commit(Began(former, {"work_mem": 4096, "jit": True}, {}, ("arrivals",)))
    point = (0.5, 0.5)
    config = {"work_mem": 8192, "jit": True}
    suggestion = Suggestion(number=0, kind="safe", config=config, point=point, centre=point)
    writer.commit(Intended(suggestion), touched=True)
    postgres.execute("ALTER SYSTEM SET work_mem = '8MB'")
    postgres.execute("SELECT pg_reload_conf()")
    yield writer
    postgres.execute("ALTER SYSTEM RESET ALL")
    postgres.execute("SELECT pg_reload_conf()")


@pytest.fixture
def password(postgres: PrivatePostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password of the real server, where libpq finds it."""
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:{postgres.port}:*:{postgres.user}:{postgres.password}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))


@pytest.mark.usefixtures("password")
def test_restore_works_without_the_service(
    service: LiveService, postgres: PrivatePostgres, abandoned: SessionWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEWRIGHT_URL", "http://127.0.0.1:1")
    data_dir = str(service.settings.data_dir)

    alive = run("restore", abandoned.id, "--direct", "--wait", "0.1s", "--data-dir", data_dir)
    abandoned.let_go()
    result = run("restore", abandoned.id[:14], "--direct", "--wait", "20s", "--data-dir", data_dir)

    assert (alive.exit_code, "its runner is alive" in alive.stderr) == (1, True)
    assert result.exit_code == 0, result.output
    assert "work_mem\t4096" in result.stdout
    with psycopg.connect(postgres.dsn()) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("4MB",)
    assert (abandoned.view.state, abandoned.view.touched) == (SessionState.STOPPED, False)
    assert postgres.execute("SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'") == []


@pytest.mark.usefixtures("password")
def test_restore_takes_back_what_waits_for_a_restart(
    service: LiveService, postgres: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEWRIGHT_URL", "http://127.0.0.1:1")
    engine = service.repository.engine
    database = attach(engine, "unrestarted", parse_dsn(postgres.dsn().replace(f":{postgres.password}", "")))
    writer = SessionWriter(engine, service.settings.store_url, database, knobs=["work_mem", "shared_buffers"])
    buffers = Knob("shared_buffers", "integer", "", current=16384, low=16, high=10**6, applies=Applies.RESTART)
    former = {"shared_buffers": FormerSetting(value=16384, text=None)}
    writer.commit(Began(former, {"shared_buffers": 16384}, {"shared_buffers": plain(buffers)}, ("arrivals",)))
    writer.commit(RestartIntended(1.0, {"shared_buffers": 32768}), touched=True)
    postgres.execute("ALTER SYSTEM SET shared_buffers = '256MB'")
    postgres.execute("SELECT pg_reload_conf()")
    writer.let_go()

    data_dir = str(service.settings.data_dir)
    result = run("restore", writer.id, "--direct", "--wait", "20s", "--data-dir", data_dir)

    assert result.exit_code == 0, result.output
    assert postgres.execute("SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'") == []
    assert postgres.execute("SELECT pending_restart FROM pg_settings WHERE name = 'shared_buffers'") == [(False,)]


def test_restoring_directly_needs_a_store(tmp_path: Path) -> None:
    result = run("restore", "abc", "--direct", "--data-dir", str(tmp_path / "empty"))

    assert result.exit_code == 1
    assert "there is no store in" in result.stderr
    assert not (tmp_path / "empty").exists()
