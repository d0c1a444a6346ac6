"""Where the store is: which URLs are taken, and that none is ever quoted."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from db_knobs.lab.postgres import PrivatePostgres
from service.settings import ServiceSettings
from service.store.engine import SchemaError, StoreUrlError, migrate, open_engine, parse_url

CANARY = "canary-hunter2"


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:////data/store.db", "sqlite"),
        ("postgresql://user@host/database", "postgresql"),
        ("postgresql+psycopg://user:p%40ss%2Fword@host:5432/database?sslmode=require", "postgresql+psycopg"),
        ("postgresql+psycopg:///database?service=tunewright", "postgresql+psycopg"),
        ("postgresql+psycopg://user@/database?host=/var/run/postgresql", "postgresql+psycopg"),
    ],
)
def test_stores_on_sqlite_and_postgresql_are_taken(url: str, driver: str) -> None:
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (CANARY, "not an SQLAlchemy URL"),
        (f"postgresql://user:{CANARY}@host:port/database", "not an SQLAlchemy URL"),
        (f"mysql://user:{CANARY}@host/database", '"mysql" is not supported; give sqlite'),
        (f"postgres://user:{CANARY}@host/database", '"postgres" is not supported'),
        (f"postgresql+asyncpg://user:{CANARY}@host/database", "asyncpg.*give"),
        (f"postgresql://user:p@{CANARY}@host/database", "write @ in a password as %40"),
        (f"postgresql://user:p@{CANARY}/w@host/database", "write @ in a password as %40"),
        (f"postgresql://user:{CANARY}@host", "names no database"),
    ],
)
def test_what_cannot_be_a_store_is_refused_without_quoting_it(tmp_path: Path, url: str, remedy: str) -> None:
    with pytest.raises(StoreUrlError, match=remedy) as refused:
        parse_url(url)
    with pytest.raises(ValidationError, match=remedy) as invalid:
        ServiceSettings(data_dir=tmp_path, database_url=url)  # type: ignore[arg-type]

    assert CANARY not in str(refused.value)
    assert CANARY not in str(invalid.value)


@pytest.mark.parametrize("url", ["states", "./states", "file://states", "local://states"])
def test_a_place_of_states_starts_from_where_the_service_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)

    assert ServiceSettings(data_dir=tmp_path, checkpoint_url=url).leg().checkpoint_url == f"file://{tmp_path}/states"


def test_a_place_of_states_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"bogus: .*give file:///DIRECTORY"):
        ServiceSettings(data_dir=tmp_path, checkpoint_url="bogus://states")


def test_settings_do_not_show_the_password(tmp_path: Path) -> None:
    settings = ServiceSettings(data_dir=tmp_path, database_url=f"postgresql://user:{CANARY}@host/database")  # type: ignore[arg-type]

    assert CANARY in settings.store_url
    assert CANARY not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


def test_only_a_store_in_the_data_directory_with_a_ray_of_its_own_has_one_user(tmp_path: Path) -> None:
    def sole(**fields: str) -> bool:
        return ServiceSettings(data_dir=tmp_path, **fields).sole_user  # type: ignore[arg-type]

    assert sole()
    assert not sole(database_url=f"sqlite:///{tmp_path / 'shared.db'}")
    assert not sole(database_url="postgresql://user@host/database")
    assert not sole(ray_address="auto")


def test_nothing_tells_the_password_when_the_server_refuses_it(
    postgres: PrivatePostgres, caplog: pytest.LogCaptureFixture
) -> None:
    for library in ("sqlalchemy", "psycopg"):
        caplog.set_level(logging.DEBUG, logger=library)
    url = postgres.url("postgres")

    with pytest.raises(OperationalError, match="password authentication failed") as refused:
        open_engine(url.replace(postgres.password, CANARY)).connect()
    with pytest.raises(OperationalError) as unreachable:
        open_engine(url.replace(f":{postgres.port}", ":1")).connect()
    engine = open_engine(url)
    with engine.connect() as connection:
        connection.execute(select(1))
        shown = f"{engine!r} {connection!r} {connection.connection.driver_connection!r}"
    engine.dispose()

    told = f"{refused.value!r} {refused.value} {unreachable.value!r} {unreachable.value} {shown} {caplog.text}"
    assert CANARY not in told
    assert postgres.password not in told
    assert "Created new connection" in caplog.text, "the libraries' own logs were looked at"


def test_a_database_that_cannot_hold_every_text_is_refused(postgres: PrivatePostgres) -> None:
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    engine = open_engine(postgres.url("latin"))

    with pytest.raises(SchemaError, match=r"encoding LATIN1.*UTF8"):
        migrate(engine)

    engine.dispose()
    postgres.drop_database("latin")
