"""Metrics: all of them documented, few however many studies there are, and what they say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from service.conducting import ClusterSeen
from service.store.engine import writing
from service.store.overview import LISTED
from service.store.tables import StatusRow, StudyRow
from tests.service.conftest import Service, complete_spec, sqlite_only
from tunewright.study import StudyState, TrialState

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"


def families(service: Service) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by metric and by the values of their labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(service.client.get("/metrics").text):
        samples = found.setdefault(family.name, {})
        for sample in family.samples:
            if not sample.name.endswith(("_created", "_bucket", "_sum")):
                samples[tuple(sample.labels.values())] = sample.value
    return found


def run_many(service: Service, count: int) -> None:
    """Studies that run, written as one statement."""
    spec = complete_spec().model_dump(mode="json")
    study = service.create()["id"]
    with writing(service.repository.engine) as connection:
        rows = [(f"{number:016d}", number) for number in range(count)]
        connection.execute(
            insert(StudyRow),
            [
                {"id": name, "name": f"study {n}", "workload": "bowl", "optimizer": "asha", "spec": spec,
                 "wanted": "run", "created_at": 1.0}
                for name, n in rows
            ],
        )  # fmt: skip
        counts = {TrialState.RUNNING: 2, TrialState.FAILED: 1}
        connection.execute(
            insert(StatusRow),
            [
                {"study_id": name, "state": StudyState.RUNNING, "counts": counts, "best": [], "progress": 0.5}
                for name, _ in rows
            ],
        )
    assert study


@sqlite_only
def test_every_metric_is_in_the_handbook_and_every_one_there_exists(service: Service) -> None:
    table = DOCS.read_text().partition("## Metrics")[2].partition("###")[0]
    documented = {
        (name.removesuffix("_total"), kind)
        for names, kind in re.findall(r"^\| (`tunewright_[^|]*`) \| (\w+) \|", table, flags=re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }

    answer = service.client.get("/metrics")

    told = {(family.name, family.type) for family in text_string_to_metric_families(answer.text)}
    assert {name for name, _ in told if not name.startswith("tunewright_")} == set()
    assert {name.removesuffix("_created") for name, _ in told} == {name for name, _ in documented}
    assert documented <= told


def test_a_scrape_stays_small_with_a_thousand_studies(service: Service) -> None:
    run_many(service, 1_000)

    found = families(service)

    assert found["tunewright_studies"]["running",] == 1_000
    assert found["tunewright_trials_running"][()] == 2_000
    assert found["tunewright_studies_waiting"][()] == 1
    assert len(found["tunewright_study_progress_ratio"]) == LISTED
    assert len(found["tunewright_study_trials"]) == 2 * LISTED
    assert ("0000000000000999",) in found["tunewright_study_progress_ratio"]
    # Requests are counted per route and answer, however many studies there are.
    lines = service.client.get("/metrics").text.splitlines(keepends=True)
    assert sum(len(line) for line in lines if "tunewright_request_seconds" not in line) < 60_000


@sqlite_only
def test_the_conductor_and_its_cluster_are_told(service: Service) -> None:
    conductor = service.services.conductor
    conductor.standing = replace(  # type: ignore[attr-defined]
        conductor.standing,  # type: ignore[attr-defined]
        leads=True,
        tick_seconds=0.25,
        most=8,
        crashed=3,
        cluster=ClusterSeen(cpus=16, gpus=2, free_cpus=4, free_gpus=0, seconds_ago=1.5),
    )

    found = families(service)

    assert found["tunewright_conductor_leads"][()] == 1
    assert found["tunewright_conductor_tick_age_seconds"][()] == 0.25
    assert found["tunewright_studies_limit"][()] == 8
    assert found["tunewright_runner_crashes"][()] == 3
    assert [found[f"tunewright_cluster_{name}"][()] for name in ("cpus", "free_cpus", "gpus", "free_gpus")] == [
        16, 4, 2, 0,
    ]  # fmt: skip
    assert found["tunewright_cluster_age_seconds"][()] == 1.5


@sqlite_only
def test_a_cluster_that_nobody_has_seen_has_no_processors_rather_than_none(service: Service) -> None:
    assert families(service)["tunewright_cluster_cpus"] == {}


def test_writes_are_timed(service: Service) -> None:
    before = families(service)["tunewright_store_write_seconds"][()]

    service.create()

    assert families(service)["tunewright_store_write_seconds"][()] > before


def test_errors_of_the_store_are_counted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    before = families(service)["tunewright_store_errors"]["unavailable",]
    broken = (
        "SELECT 1 FROM no_such_table"
        if service.repository.embedded
        else "SELECT pg_terminate_backend(pg_backend_pid())"
    )

    with pytest.raises(DBAPIError), service.repository.engine.connect() as connection:
        connection.execute(text(broken))

    assert families(service)["tunewright_store_errors"]["unavailable",] == before + 1
