"""Who did what: the audit trail, for those who administrate the service."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.dependencies import Cursor, Limit, ServicesDep, read
from service.store import audit
from tunewright.views import AuditEntry, Page

router = APIRouter(prefix="/v1", tags=["audit"])


@router.get("/audit")
async def list_audit(services: ServicesDep, limit: Limit = 100, cursor: Cursor = None) -> Page[AuditEntry]:
    """What was done or refused over REST and on the server's machine, newest first."""
    return await read(services, audit.page, services.repository.engine, limit=limit, cursor=cursor)
