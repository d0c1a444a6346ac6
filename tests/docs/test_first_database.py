"""docs/first-database.md on a real PostgreSQL server: the role, what it lacks, and the attachment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from db_knobs.lab.postgres import PrivatePostgres
from tests.docs.pages import of
from tests.tunewright.live_service import LiveService
from tests.tunewright.test_cli import run

ADDRESS = "postgresql://tuner@db.example.com:5432/shop"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveService]:
    service = LiveService(tmp_path / "data")
    service.start()
    monkeypatch.setenv("TUNEWRIGHT_URL", service.url)
    yield service
    service.close()


@pytest.fixture
def address(postgres: PrivatePostgres) -> Iterator[str]:
    """A database for a role that does not exist yet."""
    database = postgres.create_database()
    yield f"postgresql://tuner@127.0.0.1:{postgres.port}/{database}"
    for place in (None, database):
        postgres.execute("DROP OWNED BY tuner", *([place] if place else []))
    postgres.drop_database(database)
    postgres.execute("DROP ROLE tuner")


@pytest.mark.slow
def test_a_role_without_rights_is_told_what_it_lacks_and_attached(
    service: LiveService, postgres: PrivatePostgres, address: str
) -> None:
    (role,) = of("first-database.md", "sql")
    looking, for_good = of("first-database.md", "sh")
    postgres.execute(role)
    (password,) = re.findall("PASSWORD '(.*)'", role)

    def follow(commands: str) -> list[str]:
        said = []
        for command in commands.replace(ADDRESS, address).splitlines():
            words = shlex.split(command)[1:]
            # A terminal would be asked.
            words += ["--password-stdin"] if words[0] == "attach" else []
            said.append(run(*words, stdin=f"{password}\n").output)
        return said

    (missing,) = follow(looking)
    assert "GRANT" in missing
    for statement in re.findall(r"GRANT .*;", missing):
        postgres.execute(statement, address.rpartition("/")[2])
    attached, knobs = follow(for_good)

    assert "prod" in attached
    assert "work_mem" in knobs
    assert "random_page_cost" in knobs
