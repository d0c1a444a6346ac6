"""A processor's speed, on one that does nothing else, and beside somebody who wants it too."""

from __future__ import annotations

import os
import time

import pytest

from benchmarks._processor_speed import ProcessorSpeed, Reading


def test_speed_is_work_per_second_of_processor_time() -> None:
    assert Reading(150, 4.0).since(Reading(50, 2.0)) == 50.0


def test_there_is_no_speed_before_there_was_work() -> None:
    assert Reading(7, 1.0).since(Reading(7, 1.0)) is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs processors that can be chosen")
def test_it_works_a_little_on_that_processor() -> None:
    with ProcessorSpeed(min(os.sched_getaffinity(0))) as speed:
        first, began = speed.read(), time.monotonic()
        while speed.read().work < first.work + 5 and time.monotonic() < began + 30:
            time.sleep(0.05)
        last = speed.read()
        process = speed._process

    assert last.work >= first.work + 5
    assert last.since(first) is not None
    assert last.seconds < 0.5 * (time.monotonic() - began)
    assert process.returncode == 0


def test_a_processor_that_does_not_exist_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with ProcessorSpeed(100_000) as speed, pytest.raises(RuntimeError, match="processor 100000"):
        speed.read()

    assert "OSError" in capfd.readouterr().err
