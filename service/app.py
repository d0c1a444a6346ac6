"""`create_app`: wiring, nothing else."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from service import dashboard, problems
from service.api import catalog, events, health, studies, trials
from service.api.dependencies import Services
from service.conductor import Conductor
from service.events import EventFeed
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


def create_app(settings: ServiceSettings) -> FastAPI:
    """The service as an ASGI application; the store is opened and the conductor started when it starts up."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        lock = lock_data_directory(settings.data_dir)
        services = _services(settings)
        app.state.services = services
        services.conductor.start()
        try:
            yield
        finally:
            services.conductor.stop()
            services.repository.engine.dispose()
            lock.close()

    app = FastAPI(
        title="Tunewright",
        version=__version__,
        summary="A tuning service for machine learning models and live databases",
        lifespan=lifespan,
        max_body_size=settings.max_body_bytes,
        responses=problems.answers(422, 503),
    )
    app.add_middleware(RequestMetrics)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=settings.hosts)
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
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / "serve.lock").open("a+")
    except OSError as error:
        raise DataDirectoryError(f"data_dir {data_dir}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise DataDirectoryError(
            f"data_dir {data_dir}: another service (pid {owner}) is using it; "
            "stop that one, or choose another --data-dir"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _services(settings: ServiceSettings) -> Services:
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
    )
    return Services(settings, repository, conductor, EventFeed(repository), WorkloadCatalog(settings.import_paths))
