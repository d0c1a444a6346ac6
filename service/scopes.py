"""Which scope a request needs. docs/security.md has the whole table, and a test holds every route against it."""

from __future__ import annotations

import re

from tunewright.access import Scope

# Questions of load balancers, which have no token; never refused, so that a busy service is not restarted.
PROBES = frozenset({"/healthz", "/readyz"})
LOGIN = "/login"
LOGOUT = "/logout"
EVENTS = "/v1/events"
AUDIT = "/v1/audit"
DIAGNOSIS = "/v1/diagnosis"
METRICS = "/metrics"
# What the login page is made of, and what says nothing of studies.
_OPEN = PROBES | {LOGIN, LOGOUT, "/favicon.svg", "/favicon.ico"}
_STATIC = "/static/"
_ATTACHING = re.compile(r"/v1/databases(/[^/]+:password)?")
_JOB = re.compile(r"^(/v1/jobs/[0-9a-v]{16})-[a-z0-9]+")
_PAGES = frozenset({"/", "/studies", "/compare", "/sessions", "/labelling", "/docs"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# They tell of all projects at once.
_OF_EVERY_PROJECT = (AUDIT, DIAGNOSIS, METRICS)


def needed(method: str, path: str) -> Scope | None:
    """The scope that a request needs: `read` to look, `write` to change, `admin` to delete, and to attach databases, by
    which the service connects to where it is told, or to change their passwords; None if everybody may.

    What is not known here is not open: a new route needs a token by its method alone.
    """
    if path in _OPEN or path.startswith(_STATIC):
        return None
    if method == "DELETE" or path == AUDIT or (method == "POST" and _ATTACHING.fullmatch(path)):
        return Scope.ADMIN
    return Scope.READ if method in SAFE else Scope.WRITE


def needs_every_project(path: str) -> bool:
    """Whether a token must see all projects."""
    return path in _OF_EVERY_PROJECT


def repeats(path: str) -> bool:
    """Whether programs call it all the time: the audit trail then counts what comes again within a minute."""
    return path.startswith(("/v1/jobs/", "/v1/models/")) or path.endswith(("/jobs:ask", ":validate"))


def audited_as(path: str) -> str:
    """The path under which the audit trail has a request: jobs are many, and stand there as their study's."""
    return _JOB.sub(r"\1", path)


def is_page(path: str) -> bool:
    """Whether people see it in a browser, and are sent to the login page rather than refused."""
    return path in _PAGES or path.startswith(("/studies/", "/sessions/", "/trials/"))
