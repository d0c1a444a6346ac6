"""Traces: on when asked for, gone on with in other processes, and nothing when off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from optimizers.protocol import Job
from tunewright.study import Budget, StudySpec
from workers import logs, tracing
from workers.leg import LegSettings
from workers.observed import observed_leg
from workers.orders import LegOrder, LegResult, Outcome

SPEC = StudySpec(name="a", workload="bowl", budget=Budget(trials=1))


@pytest.fixture
def exported() -> Iterator[Any]:
    """Spans that have ended."""
    exporter_module = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter = exporter_module.InMemorySpanExporter()
    tracing.use(SimpleSpanProcessor(exporter), "test")
    yield exporter.get_finished_spans
    tracing.off()


def test_spans_lie_within_each_other_and_say_what_they_are_about(exported: Any) -> None:
    with logs.about(study="a", trial=3), tracing.span("outer"), tracing.span("inner", batch=7):
        pass

    inner, outer = exported()
    assert inner.parent.span_id == outer.context.span_id
    assert dict(inner.attributes) == {"tunewright.study": "a", "tunewright.trial": 3, "tunewright.batch": 7}


def test_a_leg_goes_on_with_the_trace_of_the_request(exported: Any) -> None:
    with tracing.span("POST /v1/studies"):
        carrier = tracing.carrier()
    order = LegOrder("a", Job(5, 2, {}, 0.0, 3.0), 1, 0, SPEC)
    settings = LegSettings("file:///nowhere", trace=carrier)

    result = observed_leg(order, settings, lambda: LegResult(Outcome.FAILED, "no such file"))

    request, leg = exported()
    assert result.problem == "no such file"
    assert leg.name == "leg"
    assert leg.context.trace_id == request.context.trace_id
    assert leg.parent.span_id == request.context.span_id
    assert leg.attributes["tunewright.study"] == "a"
    assert leg.attributes["tunewright.job"] == 5
    assert leg.attributes["tunewright.outcome"] == "failed"


def test_an_exception_marks_its_span(exported: Any) -> None:
    with pytest.raises(ValueError, match="wrong"), tracing.span("work"):
        raise ValueError("wrong")

    (span,) = exported()
    assert not span.status.is_ok


def test_without_an_endpoint_nothing_is_imported() -> None:
    program = (
        "import sys; from workers import tracing; tracing.configure('service')\n"
        "with tracing.span('x', a=1) as span: span.note(b=2)\n"
        "assert not tracing.carrier()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    environment = {"PATH": "/usr/bin:/bin"}

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)

    assert found.stdout.strip() == "[]"


def test_a_missing_extra_is_said_and_nothing_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)

    tracing.configure("service")

    assert "tunewright[otel]" in caplog.text
    assert not tracing.carrier()
