"""The pages' routes and their security headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.api.dependencies import ServicesDep, own_study, read
from service.caller import Caller
from service.dashboard.static_files import (
    BASIC_PLOTLY,
    BUNDLES,
    DIRECTORY,
    FOREVER,
    NO_SNIFFING,
    PLOTLY,
    STATIC_URL,
    Bundle,
    imported_modules,
)
from service.store import sessions
from service.store.errors import NotFound
from tunewright import __version__
from tunewright.access import Scope

# No inline script, no inline style, no eval. Plotly would break the second rule in two places, as it loads: it adds a
# style element with its own rules, which a link with the id `plotly.js-style-global` and the class `no-inline-styles`
# replaces (plotly.js#7109; the rules are in static/plot.css), and its map library adds another one, unless an element
# with that one's id exists (see `static_files.Bundle`). Its WebGL traces (scattergl and the like) compile shaders with
# `new Function`; pages draw with SVG traces only. `blob:` and `data:` images are for pictures that Plotly makes.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    **NO_SNIFFING,
}

# Colours and columns for more are hard to tell apart.
MAX_COMPARED = 6

router = APIRouter(include_in_schema=False)

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals.update(static=STATIC_URL, imported_modules=imported_modules, version=__version__)


@router.get("/")
def overview_page(request: Request) -> HTMLResponse:
    """What is under way, and what went wrong."""
    return page(request, "overview.html", section="overview")


@router.get("/studies")
def studies_page(request: Request) -> HTMLResponse:
    """All studies."""
    return page(request, "studies.html", section="studies")


@router.get("/studies/new")
def new_study_page(request: Request) -> HTMLResponse:
    """A study to be written and submitted."""
    return page(request, "new_study.html", section="studies", study=None)


@router.get("/studies/{study_id}")
async def study_page(request: Request, study_id: str, services: ServicesDep) -> HTMLResponse:
    """One study."""
    return await _page_of_study(request, study_id, services, "study.html")


@router.get("/studies/{study_id}/clone")
async def clone_page(request: Request, study_id: str, services: ServicesDep) -> HTMLResponse:
    """A study to be written and submitted that begins as a copy of another."""
    return await _page_of_study(request, study_id, services, "new_study.html")


@router.get("/studies/{study_id}/plots")
async def plots_page(request: Request, study_id: str, services: ServicesDep) -> HTMLResponse:
    """All plots of one study."""
    return await _page_of_study(request, study_id, services, "plots.html", PLOTLY)


@router.get("/trials/{trial_id}")
async def trial_page(request: Request, trial_id: str, services: ServicesDep) -> HTMLResponse:
    """One trial of a study."""
    try:
        await own_study(request)
        trial = await read(services, services.repository.trial, trial_id)
        study = await read(services, services.repository.study, trial.study)
    except NotFound:
        return page(request, "not_found.html", status=404, section="studies", what="trial", wanted=trial_id)
    return page(request, "trial.html", section="studies", trial=trial, study=study, plotly=BASIC_PLOTLY)


@router.get("/compare")
async def compare_page(request: Request, services: ServicesDep) -> HTMLResponse:
    """Two to six studies side by side."""
    wanted = list(dict.fromkeys(request.query_params.getlist("study")))
    if not 2 <= len(wanted) <= MAX_COMPARED:
        return page(request, "compare_how.html", status=422, section="studies", given=len(wanted), most=MAX_COMPARED)
    caller: Caller = request.scope["caller"]
    studies = []
    for study_id in wanted:
        try:
            study = await read(services, services.repository.study, study_id)
        except NotFound:
            study = None
        if study is None or caller.only not in (None, study.project):
            return page(request, "not_found.html", status=404, section="studies", what="study", wanted=study_id)
        studies.append(study)
    return page(request, "compare.html", section="studies", studies=studies, plotly=BASIC_PLOTLY)


@router.get("/sessions")
def sessions_page(request: Request) -> HTMLResponse:
    """All tuning sessions, and the databases that are attached."""
    return page(request, "sessions.html", section="databases")


@router.get("/sessions/{session_id}")
async def session_page(request: Request, session_id: str, services: ServicesDep) -> HTMLResponse:
    """One tuning session."""
    try:
        await own_study(request)
        tuning = await read(services, sessions.view, services.repository.engine, session_id)
    except NotFound:
        return page(request, "not_found.html", status=404, section="databases", what="session", wanted=session_id)
    return page(request, "session.html", section="databases", tuning=tuning, plotly=BASIC_PLOTLY)


@router.get("/labelling")
def labelling_page(request: Request) -> HTMLResponse:
    """All labellings; or the next question of one of them, which the fragment names."""
    return page(request, "labelling.html", section="labelling", address=str(request.base_url).rstrip("/"))


@router.get("/static/vendor/{name}")
def library(name: str, request: Request) -> Response:
    """A library's bundle."""
    bundle = BUNDLES.get(name)
    if bundle is None:
        raise HTTPException(404)
    headers = {**FOREVER, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(bundle.gzip, media_type="text/javascript", headers={**headers, "Content-Encoding": "gzip"})
    return Response(bundle.content, media_type="text/javascript", headers=headers)


@router.get("/favicon.svg")
@router.get("/favicon.ico")
def favicon() -> FileResponse:
    """The icon, also under the address at which browsers look by themselves."""
    headers = {"Cache-Control": "public, max-age=86400", **NO_SNIFFING}
    return FileResponse(DIRECTORY / "favicon.svg", media_type="image/svg+xml", headers=headers)


async def _page_of_study(
    request: Request, study_id: str, services: ServicesDep, template: str, plotly: Bundle = BASIC_PLOTLY
) -> HTMLResponse:
    try:
        await own_study(request)
        study = await read(services, services.repository.study, study_id)
    except NotFound:
        return page(request, "not_found.html", status=404, section="studies", what="study", wanted=study_id)
    return page(request, template, section="studies", study=study, plotly=plotly)


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page with the security headers of all pages; one that is looked at in a session offers to log out, and one of
    somebody who may only read offers nothing that would be refused."""
    caller: Caller | None = request.scope.get("caller")
    session = caller is not None and caller.session is not None
    may_write = caller is not None and caller.scope.includes(Scope.WRITE)
    values = {"section": "", **values, "session": session, "may_write": may_write}
    return HTMLResponse(_templates.get_template(template).render(values), status, PAGE_HEADERS)
