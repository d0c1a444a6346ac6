"""What counts as recovery from an attack: acknowledged reports that are later than the damage, and nothing else."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from benchmarks import chaos
from benchmarks._chaos_sites import NoVictim, Site
from benchmarks.chaos import Damage, Scale
from benchmarks.workloads.witnessed import Witnessed

LANDED = 1000.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(chaos, "LOOK_SECONDS", 0.01)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    path = tmp_path / "record"
    path.write_text(_line(step=1, at=LANDED - 5))
    return path


def _line(**fields: float) -> str:
    return json.dumps({"study": 0, "x": 0.5, **fields}) + "\n"


def _attacked(record: Path, written: str) -> Damage | None:
    """What comes of an attack during which so much is written."""

    def attack() -> float:
        with record.open("a") as file:
            file.write(written)
        return LANDED

    return chaos._attack("runner", attack, record)


def test_a_report_from_before_the_damage_is_no_recovery(record: Path) -> None:
    damage = _attacked(record, _line(step=2, at=LANDED - 0.1) + _line(began=LANDED - 0.1))

    assert damage == Damage("runner", None)


def test_a_leg_that_begins_is_no_recovery(record: Path) -> None:
    damage = _attacked(record, _line(began=LANDED + 1))

    assert damage == Damage("runner", None)


def test_recovery_is_from_the_damage_to_the_first_report_after_it(record: Path) -> None:
    lines = [_line(step=2, at=LANDED - 0.1), _line(began=LANDED + 1), _line(step=3, at=LANDED + 3)]

    damage = _attacked(record, "".join([*lines, _line(step=4, at=LANDED + 4), '{"study"']))

    assert damage == Damage("runner", 3.0)


def test_where_there_is_nothing_to_attack_nothing_is_damaged(record: Path) -> None:
    def attack() -> float:
        raise NoVictim

    assert chaos._attack("runner", attack, record) is None


def test_each_line_of_a_trial_says_when_it_was_written(tmp_path: Path) -> None:
    leg = SimpleNamespace(steps=lambda checkpoint: range(1, 3), end=3)
    data = {"record": str(tmp_path / "record"), "study": 0, "seconds": 0}
    reported: list[float] = []
    before = time.time()

    Witnessed().run(
        {"x": 0.5},
        leg,  # type: ignore[arg-type]
        data=data,
        checkpoint=SimpleNamespace(due=False),  # type: ignore[arg-type]
        report=lambda *_: reported.append(time.time()),  # type: ignore[arg-type]
    )

    began, *steps = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    assert began["began"] >= before
    assert [step["step"] for step in steps] == [1, 2]
    assert all(step["at"] >= acknowledged for step, acknowledged in zip(steps, reported, strict=True))


def test_recoveries_that_never_came_are_counted_and_break_the_promise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def dead(home: Path, rng: random.Random) -> Iterator[Site]:
        with httpx.Client(base_url="http://none", transport=httpx.MockTransport(_away)) as client:
            site: Any = SimpleNamespace(name="dead", services=[], client=lambda: client)
            site.light = site.heavy = {"runner": time.time}
            yield site

    monkeypatch.setattr(chaos, "embedded", dead)
    monkeypatch.setattr(chaos, "replicated", dead)
    monkeypatch.setattr(chaos, "QUICK", Scale(kills=1, heavy_every=4, pause=0.1, trials=1, end_seconds=0.1))

    with pytest.raises(SystemExit, match=r"^broken: unrecovered$"):
        chaos.main(["--quick"])

    assert "unrecovered" in capsys.readouterr().out


def _away(request: httpx.Request) -> httpx.Response:
    return httpx.Response(503)
