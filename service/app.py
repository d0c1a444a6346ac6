"""`create_app`: wiring, nothing else."""

from __future__ import annotations

import fcntl
import gc
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service import access, dashboard, links, problems
from service.access import Access, Gate
from service.api import (
    audit,
    catalog,
    databases,
    diagnosis,
    drafts,
    events,
    exports,
    health,
    imports,
    jobs,
    labelling,
    life,
    models,
    overview,
    plots,
    sessions,
    studies,
    trials,
)
from service.api.dependencies import Services, own_study
from service.audit import AuditTrail
from service.auth import Authenticator
from service.body_limit import BodyLimit
from service.conductor import Conductor
from service.desks import Desks
from service.events import EventFeed
from service.exposure import require_tokens
from service.hosts import AllowedHosts
from service.logs import RequestLog
from service.metrics import RequestMetrics
from service.passwords import Passwords
from service.security_headers import SecurityHeaders
from service.session_conductor import SessionConductor
from service.settings import ServiceSettings
from service.store.engine import open_engine, prepare
from service.store.repository import Repository
from service.workload_catalog import WorkloadCatalog
from tunewright import __version__
from tunewright.errors import TunewrightError
from workers.cluster import Cluster

# In the order in which the API's description has them.
_ROUTES = (
    studies,
    drafts,
    trials,
    life,
    plots,
    exports,
    imports,
    jobs,
    models,
    databases,
    sessions,
    labelling,
    catalog,
    events,
    audit,
    health,
    diagnosis,
    overview,
)


class DataDirectoryError(TunewrightError):
    """The data directory is in use or cannot be written."""


def open_services(settings: ServiceSettings) -> Services:
    """The parts of a service on its store; nothing runs yet."""
    engine = open_engine(settings.store_url)
    prepare(engine)
    repository = Repository(engine)
    cluster = Cluster(settings.cluster())
    holder = f"{socket.gethostname()}:{os.getpid()}"
    conductor = Conductor(
        repository,
        settings.store_url,
        cluster,
        settings.leg(),
        settings.max_running_studies,
        holder,
        sole_user=settings.sole_user,
        sessions=SessionConductor(
            engine,
            settings.store_url,
            cluster,
            Passwords(settings),
            settings.sessions(),
            settings.max_sessions,
            holder,
        ),
    )
    catalog = WorkloadCatalog(settings.import_paths, local=settings.ray_address is None)
    feed = EventFeed(repository, settings.feed())
    return Services(settings, repository, conductor, feed, catalog, Desks(cluster.desk))


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
            engine = services.repository.engine
            require_tokens(settings, engine, time.time())
            _calm_collector()
            trail = AuditTrail(engine, settings.audit_days)
            app.state.gate = Gate(Authenticator(settings, engine, trail), trail)
            app.state.services = services
            trail.start()
            services.conductor.start()
            try:
                yield
            finally:
                services.conductor.stop()
                services.databases.close()
                services.models.close()
                await trail.close()
                engine.dispose()

    app = FastAPI(
        title="Tunewright",
        version=__version__,
        summary="A tuning service for machine learning models and live databases",
        lifespan=lifespan,
        responses=problems.answers(400, 422, 500, 503),
        generate_unique_id_function=_operation_id,
        # Their scripts come from elsewhere; see `dashboard.api_docs`.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(
        BodyLimit,
        limit=settings.max_body_bytes,
        others={imports.PATH: (settings.max_import_bytes, "max_import_bytes")},
    )
    app.add_middleware(Access, settings=settings)
    app.add_middleware(RequestMetrics)
    app.add_middleware(AllowedHosts, hosts=settings.hosts)
    app.add_middleware(RequestLog)
    app.add_middleware(SecurityHeaders, tls=settings.tls)
    if settings.tls_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.tls_proxies)
    access.document(app)
    links.document(app)
    problems.install(app)
    for module in _ROUTES:
        app.include_router(module.router, dependencies=[Depends(own_study)])
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
