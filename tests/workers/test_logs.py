"""Log lines: what they hold in either form."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from workers import logs
from workers.logs import MAX_CHARACTERS, Format, JsonLines, LogSettings, TextLines

log = logging.getLogger("tunewright.test")


class Lines:
    """What was logged, line by line."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(formatter)

    @property
    def text(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text]


@pytest.fixture
def lines(request: pytest.FixtureRequest) -> Iterator[Lines]:
    found = Lines(JsonLines() if getattr(request, "param", "json") == "json" else TextLines())
    log.addHandler(found.handler)
    log.setLevel(logging.DEBUG)
    yield found
    log.removeHandler(found.handler)


as_text = pytest.mark.parametrize("lines", ["text"], indirect=True)


def test_a_line_is_one_object_with_time_level_logger_and_message(lines: Lines) -> None:
    log.warning("disk of %s is %d%% full", "data", 93)

    (found,) = lines.objects
    assert list(found) == ["time", "level", "logger", "message"]
    assert (found["level"], found["logger"]) == ("warning", "tunewright.test")
    assert found["message"] == "disk of data is 93% full"
    assert datetime.fromisoformat(found["time"]).utcoffset() is not None


def test_lines_say_what_is_worked_on_as_long_as_it_is(lines: Lines) -> None:
    with logs.about(study="a", trial=None):
        with logs.about(trial=0, job=7):
            log.info("in")
        log.info("between")
    log.info("out")

    found = [{key: line.get(key) for key in ("study", "trial", "job")} for line in lines.objects]
    assert found[0] == {"study": "a", "trial": 0, "job": 7}
    assert found[1] == {"study": "a", "trial": None, "job": None}
    assert found[2] == {"study": None, "trial": None, "job": None}


def test_threads_do_not_see_what_others_work_on(lines: Lines) -> None:
    with logs.about(study="a"):
        other = threading.Thread(target=log.info, args=("elsewhere",))
        other.start()
        other.join()

    assert "study" not in lines.objects[0]


def test_a_line_can_say_more_of_itself(lines: Lines) -> None:
    with logs.about(request="r"):
        log.info("answered", extra={logs.FIELDS: {"status": 200, "ms": 1.5}})

    assert lines.objects[0] | {"request": "r", "status": 200, "ms": 1.5} == lines.objects[0]


def test_what_a_line_is_about_does_not_replace_the_line_itself(lines: Lines) -> None:
    with logs.about(message="forged", level="debug"):
        log.error("true")

    assert (lines.objects[0]["message"], lines.objects[0]["level"]) == ("true", "error")


def test_an_exception_is_one_field(lines: Lines) -> None:
    try:
        raise ValueError("of many\nlines \ud800")
    except ValueError:
        log.exception("failed")

    (found,) = lines.objects
    assert found["exception"].startswith("Traceback")
    assert "ValueError: of many\nlines" in found["exception"]


def test_a_very_long_message_keeps_its_beginning_and_its_end(lines: Lines) -> None:
    log.info("%s", "a" * 10 * MAX_CHARACTERS + "end")

    message = lines.objects[0]["message"]
    assert len(message) < MAX_CHARACTERS + 20
    assert message.startswith("aaa")
    assert message.endswith("end")


@as_text
def test_text_ends_with_what_it_is_about(lines: Lines) -> None:
    with logs.about(request="r", study="a"):
        log.warning("slow")

    assert lines.text[0].endswith("WARNING tunewright.test: slow [request=r study=a]")


@as_text
def test_nobody_writes_lines_of_their_own_into_the_text(lines: Lines) -> None:
    log.warning("no such file: %s", "x\n2026-01-01 INFO root: all is well")

    assert len(lines.text) == 1


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_process_is_configured_anew_rather_than_twice(
    format: Format, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)

    logs.configure(LogSettings("text" if format == "json" else "json", "debug"))
    logs.configure(LogSettings(format, "warning"))
    log.propagate = True
    logging.getLogger("tunewright.quiet").info("not shown")
    logging.getLogger("tunewright.loud").warning("shown")

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("{") is (format == "json")
