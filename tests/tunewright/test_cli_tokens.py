"""`tunewright token`, `tunewright audit`, and how the command line says who asks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.store import tokens
from service.store.engine import open_engine
from service.tokens import parse
from tests.tunewright.live_service import LiveService
from tunewright.cli import app


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No token of anybody's, and a data directory of our own, which is returned."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    # Set first, so that it is put back as it was, whatever a command makes of it.
    for variable in ("TUNEWRIGHT_TOKEN", "TUNEWRIGHT_TOKEN_FILE"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("TUNEWRIGHT_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_a_token_is_made_listed_and_revoked(surroundings: Path) -> None:
    made = run("token", "create", "ci", "--scope", "write", "--project", "vision", "--expires", "30d")
    listed = json.loads(run("token", "list", "--json").stdout)
    revoked = run("token", "revoke", "ci")
    after = json.loads(run("token", "list", "--json").stdout)

    secret = parse(made.stdout.strip())
    assert secret is not None, "alone on its line, so that it can be sent into a file"
    (token,) = listed
    assert (token["id"], token["name"], token["scope"], token["project"]) == (secret.id, "ci", "write", "vision")
    assert token["state"] == "valid"
    assert token["token"] is None
    assert secret.secret not in json.dumps(listed)
    assert revoked.stdout == f"token {secret.id} (ci) is revoked\n"
    assert after[0]["state"] == "revoked"
    assert surroundings.stat().st_mode & 0o077 == 0


def test_a_token_lets_its_holder_in_until_it_expires(surroundings: Path) -> None:
    text = run("token", "create", "ci", "--expires", "30d").stdout.strip()
    engine = open_engine(f"sqlite:///{surroundings / 'tunewright.db'}")
    secret = parse(text)
    assert secret is not None

    with engine.connect() as connection:
        found = tokens.caller(connection, secret)
    engine.dispose()

    assert found is not None
    assert found[0].expires_at == pytest.approx(time.time() + 30 * 86400, abs=60)
    assert (found[0].scope, found[0].project) == ("read", "default")


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("create", "ci", "--expires", "30"), 2, "give a number and m, h, d or w"),
        (("create", "ci", "--expires", "0d"), 2, "such as 30d"),
        (("create", "ci", "--expires", "99999w"), 2, "such as 30d"),
        (("create", "ci", "--project", "a b"), 2, "or '*' for all projects"),
        (("create", "ci", "--scope", "root"), 2, "root"),
        (("create", "\x1b[31m"), 2, "printable"),
        (("create", "x" * 101), 2, "printable"),
        (("revoke", "nobody"), 1, "there is no token"),
        (("list", "--data-dir", "/proc/nowhere"), 1, "the store cannot be used"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(arguments: tuple[str, ...], code: int, problem: str) -> None:
    refused = run("token", *arguments)

    assert refused.exit_code == code
    assert problem in " ".join(refused.stderr.split())


def test_a_name_is_taken_until_its_token_is_revoked() -> None:
    run("token", "create", "ci")
    taken = run("token", "create", "ci")
    run("token", "revoke", "ci")

    assert taken.exit_code == 1
    assert "revoke it, or choose another name" in taken.stderr
    assert run("token", "create", "ci").exit_code == 0
    assert run("token", "revoke", "ci").exit_code == 0, "the one that is valid is meant"


def test_no_option_takes_the_token_itself() -> None:
    assert run("--token", "tw_x", "studies").exit_code == 2


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[LiveService, Path]]:
    """A service that asks for tokens, and the file of an administrator's."""
    service = LiveService(tmp_path / "live")
    text = run("token", "create", "boss", "--scope", "admin", "--project", "*", "--data-dir", str(tmp_path / "live"))
    file = tmp_path / "boss"
    file.write_text(text.stdout)
    file.chmod(0o600)
    service.start()
    yield service, file
    service.close()


def test_commands_send_the_token_of_a_file(guarded: tuple[LiveService, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    service, file = guarded
    study = service.create()

    without = run("studies", "--url", service.url)
    given = run("--token-file", str(file), "studies", "--url", service.url)
    monkeypatch.setenv("TUNEWRIGHT_TOKEN_FILE", "")
    monkeypatch.setenv("TUNEWRIGHT_TOKEN", file.read_text())
    from_environment = run("studies", "--url", service.url)

    assert without.exit_code == 1
    assert "No valid token" in without.stderr
    assert "TUNEWRIGHT_TOKEN" in without.stderr
    assert study.id in given.stdout
    assert given.stdout == from_environment.stdout


def test_the_audit_trail_is_read(guarded: tuple[LiveService, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    service, file = guarded
    monkeypatch.setenv("TUNEWRIGHT_TOKEN", file.read_text())

    run("cancel", service.create().id, "--url", service.url)
    deadline = time.monotonic() + 20
    while "POST" not in (listed := run("audit", "--url", service.url)).stdout:
        assert time.monotonic() < deadline

    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    assert rows[0] == ["at", "who", "token", "verb", "resource", "outcome", "times", "from"]
    assert rows[1][1:4] == ["boss", file.read_text().split("_")[1], "POST"]
    assert rows[1][5:] == ["202", "1", "127.0.0.1"]
    assert rows[2][3] == "token create"
    assert json.loads(run("audit", "--json", "--limit", "1", "--url", service.url).stdout)[0]["name"] == "boss"
