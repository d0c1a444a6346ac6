"""The service on a real store, without Ray: its conductor stands still, so that tests say what runners did.

Whatever uses a store is tested on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute, Mount, Route

from db_knobs.lab.postgres import PrivatePostgres
from optimizers.protocol import Incumbent, Job, JobEnd, Report
from service.api.dependencies import Services
from service.app import create_app
from service.conducting import Conducting
from service.events import EventFeed
from service.settings import ServiceSettings
from service.store import leases
from service.store.engine import migrate, open_engine
from service.store.journal import SqlJournal
from service.store.repository import Repository
from service.store.tables import Base
from service.workload_catalog import WorkloadCatalog
from tests.service.desk_runners import DeskRunners
from tunewright.errors import WorkloadError
from tunewright.space import Categorical, Float, Int, SearchSpace
from tunewright.study import Budget, Fidelity, Objective, Resources, StudySpec, StudyState, TrialState
from tunewright.views import Study, Workloads
from tunewright.workload import WorkloadInfo
from workers.journal import Batch, Fact, JobEnded, JobStarted, Reported, Status

WORKLOAD = WorkloadInfo(
    name="bowl",
    reference="bowl",
    description="A bowl.",
    space=SearchSpace(Float("x", 0.0, 1.0), Int("n", 1, 9), Categorical("flag", [True, False, 1.5, "a"])),
    objectives=[Objective(metric="loss"), Objective(metric="size", bound=10.0)],
    fidelity=Fidelity(name="steps", max=9),
    resources=Resources(),
    data_options={"rows": "how many rows to use"},
)
# Of a study with a space of its own, as no workload declares it; all else is as in WORKLOAD.
OWN_SPACE: dict[str, Any] = {
    "workload": "external",
    "objectives": [{"metric": "loss"}, {"metric": "size", "bound": 10.0}],
    "fidelity": {"name": "steps", "max": 9},
}


class StillConductor:
    """Stands where the conductor stands and does nothing but count."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.alive = False
        self.nudges = 0
        self.standing = Conducting(leads=True, tick_seconds=0.1, most=8)

    def start(self) -> None:
        self.alive = True

    def stop(self) -> None:
        self.alive = False

    def nudge(self, study: str | None = None) -> None:
        self.nudges += 1

    def check(self, needed: Resources) -> None:
        pass

    def facts(self) -> Conducting:
        return replace(self.standing, problem=self.problem, alive=self.alive)


class OneWorkload(WorkloadCatalog):
    """A catalogue of one workload, without a child process."""

    def __init__(self) -> None:
        super().__init__([], local=True)

    def all(self) -> Workloads:
        return Workloads(items=[WORKLOAD])

    def get(self, reference: str) -> WorkloadInfo:
        if reference != "bowl":
            raise WorkloadError(f'workload "{reference}": unknown; known: bowl')
        return WORKLOAD


@dataclass
class Service:
    """A running application and its parts."""

    app: FastAPI
    client: TestClient
    settings: ServiceSettings

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services

    @property
    def repository(self) -> Repository:
        return self.services.repository

    def create(self, **fields: Any) -> dict[str, Any]:
        """Submit a study over REST."""
        answer = self.client.post("/v1/studies", json=study_json(**fields))
        assert answer.status_code == 201, answer.text
        study: dict[str, Any] = answer.json()
        return study

    def runner(self, study_id: str) -> Runner:
        return Runner.of(self.repository, self.settings.store_url, study_id)


@dataclass
class Runner:
    """Writes into a study's journal what its runner would."""

    journal: SqlJournal
    batch: int = 0
    at: float = 1_000.0
    counts: dict[TrialState, int] = field(default_factory=dict)

    @classmethod
    def of(cls, repository: Repository, url: str, study_id: str) -> Runner:
        epoch = leases.acquire(repository.engine, leases.study_lease(study_id), "test", seize=True)
        assert epoch is not None
        journal = SqlJournal(url, study_id, epoch)
        return cls(journal, journal.load().batch)

    def commit(self, *facts: Fact, state: StudyState = StudyState.RUNNING, **fields: Any) -> Batch:
        """One batch, one second after the one before."""
        self.batch += 1
        self.at += 1.0
        improved = fields.pop("improved", False)
        attempts = fields.pop("attempts", [])
        printed = fields.pop("printed", [])
        status = Status(state, active_seconds=self.at - 1_000.0, **{"counts": self.counts, **fields})
        batch = Batch(self.batch, self.at, facts, attempts, status, improved, printed)
        self.journal.commit(batch)
        return batch

    def finish(self, state: StudyState = StudyState.COMPLETED, **fields: Any) -> None:
        self.commit(state=state, **fields)
        self.journal.release()


def study_json(**fields: Any) -> dict[str, Any]:
    """The body of a submission; `fields` replace parts of it, None leaves one out."""
    body = {"name": "a study", "workload": "bowl", "budget": {"trials": 4}, **fields}
    return {key: value for key, value in body.items() if value is not None}


def complete_spec(**fields: Any) -> StudySpec:
    return WORKLOAD.complete(StudySpec(name="a study", workload="bowl", budget=Budget(trials=4), **fields))


def start(job: int, trial: int, *, begin: float = 0.0, end: float = 3.0, **fields: Any) -> JobStarted:
    config = fields.pop("config", {"x": 0.1, "n": 2, "flag": True})
    return JobStarted(Job(job, trial, config, begin, end, **fields))


def report(job: int, trial: int, resource: float, loss: float = 0.5, *, late: bool = False) -> Reported:
    return Reported(Report(job, trial, resource, {"loss": loss, "size": 1.0}), attempt=1, late=late)


def ended(job: int, trial: int, state: TrialState, end: JobEnd = JobEnd.COMPLETED, **fields: Any) -> JobEnded:
    return JobEnded(job, trial, end, state, **fields)


def incumbent(trial: int, loss: float) -> Incumbent:
    return Incumbent(trial, {"x": 0.1, "n": 2, "flag": True}, 3.0, {"loss": loss, "size": 1.0})


# For tests of what only this database has.
sqlite_only = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
postgresql_only = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The kind of database that the store is in."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables and no rows, to copy: quicker than a migration for each test."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    _create_tables(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def empty_database(postgres: PrivatePostgres) -> str:
    """A PostgreSQL database with all tables; each test has it to itself, and leaves it without rows."""
    name = postgres.create_database()
    _create_tables(postgres.url(name))
    return name


def _create_tables(url: str) -> None:
    engine = open_engine(url)
    migrate(engine)
    engine.dispose()


def _delete_rows(postgres: PrivatePostgres, name: str) -> None:
    """Empty a database: many times quicker than to drop it and to copy another one."""
    statements = [
        # Whoever is still connected would go on writing into the next test's store.
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        *[f"DELETE FROM {table.name}" for table in reversed(Base.metadata.sorted_tables)],
        "SELECT setval(sequencename::regclass, 1, false) FROM pg_sequences",
    ]
    postgres.execute("; ".join(statements), name)


@pytest.fixture
def store_url(database: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A store with all tables and no rows."""
    if database == "sqlite":
        shutil.copy(request.getfixturevalue("empty_store"), tmp_path / "store.db")
        yield f"sqlite:///{tmp_path / 'store.db'}"
        return
    postgres: PrivatePostgres = request.getfixturevalue("postgres")
    name = request.getfixturevalue("empty_database")
    yield postgres.url(name)
    _delete_rows(postgres, name)


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> ServiceSettings:
    return _settings(tmp_path, store_url)


def _settings(directory: Path, store_url: str) -> ServiceSettings:
    return ServiceSettings(
        data_dir=directory / "data", database_url=store_url, max_body_bytes=100_000, import_paths=[directory]
    )


@pytest.fixture
def desk_runners(store_url: str) -> Iterator[DeskRunners]:
    runners = DeskRunners()
    yield runners
    runners.stop(store_url)


@pytest.fixture
def assemble(desk_runners: DeskRunners) -> Callable[[ServiceSettings], Services]:
    return partial(_assemble, desk_runners)


def _assemble(desk_runners: DeskRunners, settings: ServiceSettings) -> Services:
    """A service's parts on a store that has its tables."""
    repository = Repository(open_engine(settings.store_url))
    conductor: Any = StillConductor()
    catalog: Any = OneWorkload()
    return Services(settings, repository, conductor, EventFeed(repository), catalog, desk_runners.desks)


# The routers of the first application, by their places among its routes.
_ROUTERS: dict[int, BaseRoute] = {}


def quick_app(settings: ServiceSettings, assemble: Callable[[ServiceSettings], Services]) -> FastAPI:
    """As `create_app`, with the routers of the first application.

    FastAPI makes a router's routes when a request first comes that may be for one of them, and anew for each
    application; that takes longer than most tests. Nothing in them depends on the application.
    """
    app = create_app(settings, assemble)
    for place, route in enumerate(app.router.routes):
        if not isinstance(route, Route | Mount):
            app.router.routes[place] = _ROUTERS.setdefault(place, route)
    return app


@contextmanager
def _running(settings: ServiceSettings, assemble: Callable[[ServiceSettings], Services]) -> Iterator[Service]:
    app = quick_app(settings, assemble)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield Service(app, client, settings)


@pytest.fixture
def service(settings: ServiceSettings, assemble: Callable[[ServiceSettings], Services]) -> Iterator[Service]:
    with _running(settings, assemble) as service:
        yield service


@pytest.fixture(scope="module")
def shared_store_url(
    database: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    """As `store_url`, for a whole module."""
    if database == "sqlite":
        path = tmp_path_factory.mktemp("shared") / "store.db"
        shutil.copy(request.getfixturevalue("empty_store"), path)
        yield f"sqlite:///{path}"
        return
    postgres: PrivatePostgres = request.getfixturevalue("postgres")
    name = postgres.create_database(request.getfixturevalue("empty_database"))
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def shared_desk_runners(shared_store_url: str) -> Iterator[DeskRunners]:
    runners = DeskRunners()
    yield runners
    runners.stop(shared_store_url)


@pytest.fixture(scope="module")
def shared_service(
    shared_store_url: str, shared_desk_runners: DeskRunners, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One service for those of a module's tests that change nothing: they read, or what they send is refused."""
    settings = _settings(tmp_path_factory.mktemp("shared"), shared_store_url)
    with _running(settings, partial(_assemble, shared_desk_runners)) as service:
        yield service


@pytest.fixture
def client(service: Service) -> TestClient:
    return service.client


@pytest.fixture
def repository(store_url: str) -> Iterator[Repository]:
    engine = open_engine(store_url)
    yield Repository(engine)
    engine.dispose()


@pytest.fixture
def study(repository: Repository) -> Study:
    return repository.create_study(complete_spec())


@pytest.fixture
def runner(repository: Repository, store_url: str, study: Study) -> Runner:
    return Runner.of(repository, store_url, study.id)
