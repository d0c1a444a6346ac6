"""Logs and traces of a process, set up where its work begins: the service, a runner, a leg on a worker."""

from __future__ import annotations

import logging
from collections.abc import Callable

from workers import logs, tracing
from workers.leg import LegSettings
from workers.logs import LogSettings
from workers.orders import LegOrder, LegResult, Outcome

log = logging.getLogger(__name__)


def set_up(part: str, settings: LogSettings) -> None:
    """Let this process log and, if traces are wanted, trace.

    Args:
        part: what it is: service, runner or leg.
    """
    logs.configure(settings)
    tracing.configure(part)


def observed_leg(order: LegOrder, settings: LegSettings, run: Callable[[], LegResult]) -> LegResult:
    """Run one attempt of a job under its own span, and log how it ended."""
    set_up("leg", settings.logs)
    job = order.job
    with (
        logs.about(study=order.study, trial=job.trial, job=job.id, attempt=order.attempt),
        tracing.resumed(settings.trace),
        tracing.span("leg", start=job.start, end=job.end) as span,
    ):
        result = run()
        span.note(outcome=result.outcome.value)
        well = result.outcome in (Outcome.COMPLETED, Outcome.STOPPED)
        problem = f": {result.problem}" if result.problem else ""
        level = logging.DEBUG if well else logging.WARNING
        log.log(level, "leg from %g to %g %s%s", job.start, job.end, result.outcome, problem)
        return result
