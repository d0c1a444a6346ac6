"""Opening the store and its directory, and the schema's history."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient
from sqlalchemy import inspect, select, text

from service import conductor, schema_admin
from service.app import DataDirectoryError, create_app, lock_data_directory, open_services
from service.settings import ServiceSettings
from service.store import leases
from service.store.engine import SchemaError, alembic_config, migrate, open_engine, schema, writing
from service.store.repository import Repository, new_id
from service.store.tables import Base
from tests.service.conftest import Runner, complete_spec, ended, incumbent, report, sqlite_only, start
from tunewright.study import TrialState


@pytest.fixture
def empty_url(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if database == "sqlite":
        return f"sqlite:///{tmp_path / 'new.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def test_a_new_store_gets_all_tables_and_a_second_migration_changes_nothing(empty_url: str) -> None:
    engine = open_engine(empty_url)

    migrate(engine)
    migrate(engine)

    assert set(inspect(engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_the_tables_are_those_that_the_code_declares(empty_url: str) -> None:
    engine = open_engine(empty_url)
    migrate(engine)

    with writing(engine) as connection:
        command.check(alembic_config(connection))


def test_the_schema_can_go_back_and_forth_with_data_in_place(empty_url: str) -> None:
    engine = open_engine(empty_url)
    migrate(engine)
    repository = Repository(engine)
    study = repository.create_study(complete_spec())
    Runner.of(repository, empty_url, study.id).commit(start(0, 0))

    with writing(engine) as connection:
        command.downgrade(alembic_config(connection), "base")
    left = set(inspect(engine).get_table_names())
    migrate(engine)

    assert left <= {"alembic_version", "sqlite_sequence"}
    assert repository.create_study(complete_spec()).state == "queued"


def revisions() -> list[str]:
    """All of them, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]


@pytest.mark.parametrize("steps", range(1, len(revisions())))
def test_what_a_store_holds_survives_going_back_and_forth(empty_url: str, steps: int) -> None:
    engine = open_engine(empty_url)
    migrate(engine)
    repository = Repository(engine)
    study = repository.create_study(complete_spec()).id
    runner = Runner.of(repository, empty_url, study)
    runner.commit(start(0, 0), start(1, 1), report(0, 0, 1), best=[incumbent(0, 0.5)], improved=True)
    runner.commit(report(0, 0, 3), ended(0, 0, TrialState.WAITING))

    def everything() -> list[Any]:
        return [
            repository.study(study),
            repository.trials(study, limit=10),
            [repository.trial(f"{study}-{number}") for number in (0, 1)],
            repository.reports(f"{study}-0", limit=10),
            repository.improvements(study),
            repository.events(0, limit=100),
            runner.journal.load(),
            leases.live(engine),
        ]

    before = everything()
    with writing(engine) as connection:
        command.downgrade(alembic_config(connection), f"-{steps}")
    migrate(engine)

    assert everything() == before
    runner.commit(report(1, 1, 1))


def test_services_that_start_at_once_bring_the_store_to_its_schema_once(empty_url: str) -> None:
    engines = [open_engine(empty_url) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, engines))

    with engines[0].connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == revisions()[:1]


def test_a_store_of_a_newer_release_is_refused(empty_url: str) -> None:
    engine = open_engine(empty_url)
    migrate(engine)
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(SchemaError, match="newer"):
        migrate(engine)


def older(url: str) -> ServiceSettings:
    """Settings of a service whose store is one revision behind."""
    engine = open_engine(url)
    migrate(engine)
    with writing(engine) as connection:
        command.downgrade(alembic_config(connection), "-1")
    engine.dispose()
    return ServiceSettings(database_url=ServiceSettings(database_url=url).database_url)


def test_a_store_of_an_older_release_is_refused_until_it_is_migrated(empty_url: str, tmp_path: Path) -> None:
    settings = older(empty_url).model_copy(update={"data_dir": tmp_path / "home"})
    with pytest.raises(SchemaError, match=r"older release.*run: tunewright migrate"):
        open_services(settings)

    moved = schema_admin.bring_up_to_date(settings)

    assert (moved.older, moved.needed) == (True, revisions()[0])
    open_services(settings)
    assert not schema_admin.bring_up_to_date(settings).older


def test_a_store_is_not_migrated_under_a_running_service(empty_url: str, tmp_path: Path) -> None:
    settings = older(empty_url).model_copy(update={"data_dir": tmp_path / "home"})
    engine = open_engine(empty_url)
    leases.acquire(engine, conductor.LEASE, "elsewhere:7")

    with pytest.raises(SchemaError, match=r"elsewhere:7.*stop all"):
        schema_admin.bring_up_to_date(settings)

    with (
        lock_data_directory(tmp_path / "home"),
        pytest.raises(DataDirectoryError, match="another service"),
    ):
        schema_admin.bring_up_to_date(settings)
    assert schema(engine).older


@sqlite_only
def test_connections_are_set_up_for_many_readers_and_a_durable_writer(empty_url: str) -> None:
    engine = open_engine(empty_url)

    with engine.connect() as connection:
        values = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }

    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_ids_sort_by_time() -> None:
    ids = [new_id() for _ in range(200)]

    assert len(set(ids)) == 200
    assert [identity[:9] for identity in ids] == sorted(identity[:9] for identity in ids)


@sqlite_only
def test_a_second_service_on_one_data_directory_is_refused_until_the_first_ends(settings: ServiceSettings) -> None:
    first = lock_data_directory(settings.data_dir)

    with pytest.raises(DataDirectoryError, match=rf"pid {os.getpid()}\).*--data-dir"):
        lock_data_directory(settings.data_dir)

    first.close()
    lock_data_directory(settings.data_dir).close()


@sqlite_only
def test_a_killed_service_leaves_no_lock(settings: ServiceSettings) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from service.app import lock_data_directory\n"
        "lock = lock_data_directory(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]

    ended = subprocess.run([sys.executable, "-c", code, str(settings.data_dir)], cwd=root, check=False)

    assert ended.returncode == -9
    lock_data_directory(settings.data_dir).close()


@pytest.mark.parametrize("name", ["file/data", "file"])
def test_a_data_directory_that_cannot_be_written_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DataDirectoryError, match=r"cannot be written .*--data-dir"):
        lock_data_directory(tmp_path / name)


def test_a_new_data_directory_is_its_owners_alone(tmp_path: Path) -> None:
    lock_data_directory(tmp_path / "new").close()

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@sqlite_only
def test_the_lock_is_given_back_when_the_service_cannot_start(settings: ServiceSettings) -> None:
    def fail(_: ServiceSettings) -> None:
        raise RuntimeError("no store")

    app = create_app(settings, fail)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no store"), TestClient(app):
        pass

    lock_data_directory(settings.data_dir).close()


def test_a_directory_that_does_not_fit_into_a_url_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="question mark"):
        ServiceSettings(data_dir=tmp_path / "what?")


def test_a_directory_with_odd_characters_holds_a_store(tmp_path: Path) -> None:
    settings = ServiceSettings(data_dir=tmp_path / "50% of # that' ü;&=")
    settings.data_dir.mkdir()

    services = open_services(settings)

    with services.repository.engine.connect() as connection:
        assert connection.execute(select(1)).scalar_one() == 1
    services.repository.engine.dispose()
    assert (settings.data_dir / "tunewright.db").exists()
