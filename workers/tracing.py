"""OpenTelemetry traces, when they are wanted: OTEL_EXPORTER_OTLP_ENDPOINT is set and the extra `otel` is installed.

Otherwise nothing of OpenTelemetry is imported and a span costs a comparison. A trace begins with the request that
submits a study and goes on in its runner and its legs: a context travels between processes as a small mapping, in the
form of W3C Trace Context.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from workers import logs

log = logging.getLogger(__name__)

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# A worker may be ended soon after its leg.
EXPORT_MILLISECONDS = 1000
Carrier = Mapping[str, str]

_tracer: Any = None


class Span:
    """A span that is open; without tracing it does nothing."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def note(self, **attributes: logs.Field) -> None:
        """Say more about it."""
        if self._span is not None:
            self._span.set_attributes(_attributes(attributes))

    def answered(self, method: str, route: str, status: int) -> None:
        """The request that it covers was answered."""
        if self._span is not None:
            self._span.update_name(f"{method} {route}")
            self._span.set_attributes(
                {"http.request.method": method, "http.route": route, "http.response.status_code": status}
            )
            if status >= 500:
                _failed(self._span, f"status {status}")


_NO_SPAN = Span()


def configure(part: str) -> None:
    """Trace this process if traces are wanted; does nothing the second time.

    Args:
        part: what it is: service, runner or leg.
    """
    if _tracer is not None or not any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        log.warning("traces are off: %s is missing; pip install 'tunewright[otel]'", error.name)
        return
    use(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=EXPORT_MILLISECONDS), part)


def use(processor: Any, part: str) -> None:
    """Trace with this span processor, from now on."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    global _tracer
    name = os.environ.get("OTEL_SERVICE_NAME", "tunewright")
    provider = TracerProvider(resource=Resource.create({"service.name": name, "tunewright.part": part}))
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer("tunewright")


def off() -> None:
    """Trace no more."""
    global _tracer
    _tracer = None


@contextmanager
def span(name: str, *, server: bool = False, **attributes: logs.Field) -> Iterator[Span]:
    """A span around the block, within the one that is open here; says what the block is about, as its log lines do.

    Args:
        server: it covers a request of a client.
    """
    if _tracer is None:
        yield _NO_SPAN
        return
    from opentelemetry.trace import SpanKind

    kind = SpanKind.SERVER if server else SpanKind.INTERNAL
    about = _attributes({**logs.bound(), **attributes})
    with _tracer.start_as_current_span(name, kind=kind, attributes=about) as opened:
        yield Span(opened)


@contextmanager
def resumed(carrier: Carrier) -> Iterator[None]:
    """Let the spans of the block go on with the trace of another process."""
    if _tracer is None or not carrier:
        yield
        return
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract(carrier))
    try:
        yield
    finally:
        context.detach(token)


def carrier() -> Carrier:
    """What another process needs to go on with the trace that is open here; empty without one."""
    found: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(found)
    return found


def sent(headers: Mapping[str, str]) -> Carrier:
    """The carrier among a request's headers."""
    if _tracer is None:
        return {}
    return {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}


def _attributes(fields: Mapping[str, logs.Field]) -> dict[str, logs.Field]:
    return {f"tunewright.{name}": value for name, value in fields.items()}


def _failed(opened: Any, reason: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    opened.set_status(Status(StatusCode.ERROR, reason))
