"""`create_app`: wiring, nothing else."""

from __future__ import annotations

import fcntl
import gc
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service import dashboard, problems
from service.api import catalog, events, health, studies, trials
from service.api.dependencies import Services
from service.body_limit import BodyLimit
from service.conductor import Conductor
from service.events import EventFeed
from service.hosts import AllowedHosts
from service.metrics import RequestMetrics
from service.settings import ServiceSettings
from service.store.engine import migrate, open_engine
from service.store.repository import Repository
from service.workload_catalog import WorkloadCatalog
from tunewright import __version__
from tunewright.errors import TunewrightError
from workers.cluster import Cluster


class DataDirectoryError(TunewrightError):
    """The data directory is in use or cannot be written."""


def open_services(settings: ServiceSettings) -> Services:
    """The parts of a service on its store, brought to the newest schema; nothing runs yet."""
    engine = open_engine(settings.store_url)
    migrate(engine)
    repository = Repository(engine)
    holder = f"{socket.gethostname()}:{os.getpid()}"
    conductor = Conductor(
        repository,
        settings.store_url,
        Cluster(settings.cluster()),
        settings.leg(),
        settings.max_running_studies,
        holder,
        sole_user=settings.sole_user,
    )
    catalog = WorkloadCatalog(settings.import_paths, local=settings.ray_address is None)
    return Services(settings, repository, conductor, EventFeed(repository), catalog)


def create_app(settings: ServiceSettings, assemble: Callable[[ServiceSettings], Services] = open_services) -> FastAPI:
    """The service as an ASGI application.

    Args:
        assemble: makes the service's parts when it starts up, after the data directory was locked; the conductor is
            started then, and stopped when the application shuts down.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with lock_data_directory(settings.data_dir):
            services = assemble(settings)
            _calm_collector()
            app.state.services = services
            services.conductor.start()
            try:
                yield
            finally:
                services.conductor.stop()
                services.repository.engine.dispose()

    app = FastAPI(
        title="Tunewright",
        version=__version__,
        summary="A tuning service for machine learning models and live databases",
        lifespan=lifespan,
        responses=problems.answers(400, 422, 500, 503),
        generate_unique_id_function=_operation_id,
    )
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(RequestMetrics)
    app.add_middleware(AllowedHosts, hosts=settings.hosts)
    problems.install(app)
    for module in (studies, trials, catalog, events, health):
        app.include_router(module.router)
    dashboard.mount(app)
    return app


def lock_data_directory(data_dir: Path) -> IO[str]:
    """Make the data directory ours until the file is closed or the process ends, however it ends.

    Raises:
        DataDirectoryError: another service has it, or it cannot be written.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (data_dir / "serve.lock").open("a+")
    except OSError as error:
        raise DataDirectoryError(
            f"data_dir {data_dir}: cannot be written ({error.strerror}); choose another --data-dir"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise DataDirectoryError(
            f"data_dir {data_dir}: another service (pid {owner}) is using it; "
            "stop that one, or choose another --data-dir"
        ) from None
    except OSError as error:
        file.close()
        raise DataDirectoryError(
            f"data_dir {data_dir}: its file system has no locks ({error.strerror}); choose a --data-dir on a local disk"
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _calm_collector() -> None:
    """Keep the garbage collector from stalling requests.

    What was imported stays for good and need not be looked at again. A page of trials is thousands of short-lived
    objects without cycles, for which the usual thresholds would collect several times in every request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)


def _operation_id(route: APIRoute) -> str:
    return route.name
