"""The pages: templates that draw themselves from the REST API and the event feed.

A page is a small template with a module of JavaScript that fetches the state, follows `/v1/events` and redraws at
most once a second. There is no build step: the modules are served as they stand here, under a URL that names their
content. Plotly comes from the installed `plotly` package, and the part of it that most pages load from the npm registry
(see scripts/assets).
"""

from fastapi import FastAPI

from service.dashboard import api_docs, login, pages
from service.dashboard.static_files import STATIC_URL, StaticDirectory


def mount(app: FastAPI) -> None:
    """Add the pages to the application."""
    for module in (pages, login, api_docs):
        app.include_router(module.router)
    app.mount(STATIC_URL, StaticDirectory(), name="static")
