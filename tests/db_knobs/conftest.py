"""Real servers, one of each kind, which all tests here share; each test leaves its settings as it found them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from db_knobs.attach import open_database
from db_knobs.database import Database
from db_knobs.lab import mariadb, postgres
from tests.db_knobs.sites import MariaDBSite, PostgresSite, Site


@pytest.fixture(scope="session")
def postgres_site() -> Iterator[PostgresSite]:
    if postgres.binaries() is None:
        pytest.skip("needs Debian's PostgreSQL: apt-get install postgresql")
    # Not at the command line, where nothing could change it any more.
    with postgres.PrivatePostgres(settings={"shared_preload_libraries": "pg_stat_statements"}) as server:
        server.execute("CREATE DATABASE shop")
        site = PostgresSite(server)
        site.execute("CREATE SCHEMA extras", "CREATE EXTENSION pg_stat_statements SCHEMA extras")
        _fill(site)
        yield site


@pytest.fixture(scope="session")
def mariadb_site() -> Iterator[MariaDBSite]:
    if mariadb.binaries() is None:
        pytest.skip("needs Debian's MariaDB: apt-get install mariadb-server")
    with mariadb.PrivateMariaDB() as server:
        server.execute("CREATE DATABASE shop")
        site = MariaDBSite(server)
        _fill(site)
        yield site


@pytest.fixture(params=["postgresql", "mariadb"])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue("postgres_site" if request.param == "postgresql" else "mariadb_site")
    return found


@pytest.fixture
def database(site: Site) -> Iterator[Database]:
    """Attached with exactly the rights that the probe asks for; what a test has changed is put back."""
    address = site.create_role()
    with ExitStack() as stack:
        database = open_database(address)
        stack.callback(database.close)
        site.execute(*database.probe().missing)
        database.connect()
        former = database.former([site.number[0], site.moving[0], site.switch[0], site.refused[0]])
        stack.callback(lambda: database.restore(former))
        yield database


def _fill(site: Site) -> None:
    site.execute(
        "CREATE TABLE orders (id INT PRIMARY KEY, customer INT NOT NULL, note VARCHAR(40) NOT NULL)",
        "CREATE INDEX by_customer ON orders (customer)",
        "INSERT INTO orders VALUES " + ", ".join(f"({n}, {n % 100}, 'note {n}')" for n in range(2000)),
        "ANALYZE orders" if isinstance(site, PostgresSite) else "ANALYZE TABLE orders",
    )
