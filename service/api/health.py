"""Is it alive, is it ready, what are its numbers."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from service import metrics
from service.api.dependencies import ServicesDep
from service.problems import response

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """Health of the service."""

    status: str = "ok"


# On the event loop: requests that wait for the store or for files may have taken all threads, and that is no reason to
# restart the process.
@router.get("/healthz")
async def healthz() -> Health:
    """The process answers."""
    return Health()


@router.get("/readyz", response_model=Health)
def readyz(services: ServicesDep) -> Health | Response:
    """The store can be read, the cluster is connected, and the conductor works."""
    services.repository.last_event()
    if services.conductor.problem is not None:
        return response(503, "not-ready", "Not ready", services.conductor.problem)
    if not services.conductor.alive:
        return response(503, "not-ready", "Not ready", "The conductor has ended; restart the service.")
    return Health()


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
)
def get_metrics(services: ServicesDep) -> Response:
    """Prometheus metrics."""
    found = metrics.render(
        services.repository.engine, services.conductor.facts(), services.feed, services.settings.data_dir
    )
    return Response(found, media_type=CONTENT_TYPE_LATEST)
