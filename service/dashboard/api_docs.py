"""The REST API's documentation at `/docs`.

It is drawn by scripts that come from elsewhere. They run in a sandbox: in an origin of their own, without the session's
cookie, and with no way to the API. So the document is part of the page, and requests cannot be tried out on it.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

_PLACE = '<div id="swagger-ui">'
# Shown until the scripts have drawn something in its place.
_WITHOUT_SCRIPTS = (
    "<p>The scripts that draw this page come from cdn.jsdelivr.net. Without them:"
    ' <a href="/openapi.json">the document itself</a>.</p>'
)
_SCRIPTS = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/"
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "sandbox allow-scripts allow-popups",
        "default-src 'none'",
        f"script-src {_SCRIPTS} 'unsafe-inline'",
        f"style-src {_SCRIPTS} 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """All operations."""
    app: FastAPI = request.app
    options: dict[str, Any] = {"spec": app.openapi(), "supportedSubmitMethods": []}
    page = get_swagger_ui_html(
        openapi_url=app.openapi_url or "", title="Tunewright: REST API", swagger_ui_parameters=options
    )
    text = bytes(page.body).decode().replace(_PLACE, _PLACE + _WITHOUT_SCRIPTS, 1)
    return HTMLResponse(text, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})
