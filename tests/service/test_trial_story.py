"""A trial's curve beside the median of its study, its lineage and states; and how a study's incumbent got better."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers.protocol import Incumbent, Job, JobEnd
from service.store.trial_story import median
from tests.service.conftest import Service, ended, incumbent, report, sqlite_only, start
from tunewright.study import StudyState, TrialState
from workers.checkpoints import CheckpointStore
from workers.journal import JobStarted


def get(service: Service, path: str, status: int = 200) -> Any:
    answer = service.client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture
def study(service: Service) -> str:
    """Three whole trials, one of them retried after it had failed, and a fourth that was stopped."""
    made: str = service.create()["id"]
    runner = service.runner(made)
    facts: list[Any] = []
    for trial, losses in enumerate([(0.9, 0.6, 0.3), (0.8, 0.5, 0.2), (0.7, 0.4, 0.1)]):
        facts += [start(trial, trial), *(report(trial, trial, i + 1.0, loss) for i, loss in enumerate(losses))]
        facts.append(ended(trial, trial, TrialState.COMPLETED))
    facts += [start(3, 3), report(3, 3, 1.0, 1.5), ended(3, 3, TrialState.FAILED, JobEnd.FAILED, problem="x")]
    retried = JobStarted(Job(4, 4, {"x": 0.1, "n": 2, "flag": True}, 0.0, 3.0))
    copied = JobStarted(Job(5, 5, {"x": 0.2, "n": 2, "flag": True}, 3.0, 6.0, parent=2))
    again = JobStarted(Job(6, 6, {"x": 0.3, "n": 2, "flag": True}, 6.0, 9.0, parent=5))
    runner.counts = {TrialState.COMPLETED: 3, TrialState.FAILED: 1, TrialState.RUNNING: 3}
    runner.commit(*facts, retried, copied, again, best=[incumbent(2, 0.1)], improved=True)
    return made


def test_a_curve_stands_beside_the_median_of_the_other_completed_trials(service: Service, study: str) -> None:
    found = get(service, f"/v1/trials/{study}-3/curve")

    assert (found["metric"], found["direction"], found["resource"]) == ("loss", "minimize", "steps")
    assert found["points"] == [[1.0, 1.5]]
    assert found["finished"] == 3
    assert found["median"] == [[1.0, 0.8], [2.0, 0.5], [3.0, pytest.approx(0.2)]]
    without = get(service, f"/v1/trials/{study}-2/curve?metric=loss")
    assert without["finished"] == 2
    assert without["median"][0] == [1.0, pytest.approx(0.85)]


@sqlite_only
def test_a_metric_that_was_not_measured_has_an_empty_curve(service: Service, study: str) -> None:
    found = get(service, f"/v1/trials/{study}-3/curve?metric=nothing")

    assert found["points"] == found["median"] == []
    assert (found["direction"], found["finished"]) == (None, 0)


@sqlite_only
@pytest.mark.parametrize("route", ["curve", "lineage"])
@pytest.mark.parametrize("trial", ["99", "x", "", "0-0"])
def test_unknown_trials_are_not_found(service: Service, study: str, trial: str, route: str) -> None:
    answer = get(service, f"/v1/trials/{study}-{trial}/{route}", 404)

    assert "does not exist" in answer["detail"]


@given(
    st.lists(st.dictionaries(st.integers(1, 20), st.floats(-10, 10), min_size=1, max_size=8), min_size=1, max_size=6),
    st.integers(2, 12),
)
def test_the_median_lies_between_the_curves_and_is_as_short_as_asked(
    curves: list[dict[int, float]], points: int
) -> None:
    series = [(np.array(sorted(c), dtype=float), np.array([c[x] for x in sorted(c)])) for c in curves]

    found = median(series, points)

    assert len(found) <= points
    assert [x for x, _ in found] == sorted({x for x, _ in found})
    low, high = min(y.min() for _, y in series), max(y.max() for _, y in series)
    assert all(low - 1e-9 <= y <= high + 1e-9 for _, y in found)
    if len(series) == 1 and len(series[0][0]) <= points:
        assert found == list(zip(*(column.tolist() for column in series[0]), strict=True))


def test_lineage_goes_back_and_forth(service: Service, study: str, tmp_path: Path) -> None:
    store = CheckpointStore(service.settings.leg().checkpoint_url)
    (tmp_path / "state").mkdir()
    for resource in (3.0, 6.0):
        store.put(study, 2, resource, tmp_path / "state", keep={3.0})

    last = get(service, f"/v1/trials/{study}-6/lineage")
    first = get(service, f"/v1/trials/{study}-2/lineage")

    told = [(kin["number"], kin["how"], kin["resource"]) for kin in last["ancestors"]]
    assert told == [(5, "copy", 6.0), (2, "copy", 3.0)]
    assert last["descendants"] == last["states"] == []
    assert [kin["id"] for kin in first["descendants"]] == [f"{study}-5"]
    assert first["states"] == [6.0, 3.0]


@sqlite_only
def test_a_store_of_states_that_is_away_hides_nothing_else(
    service: Service, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(CheckpointStore, "kept", away)

    found = get(service, f"/v1/trials/{study}-5/lineage")

    assert found["states"] is None
    assert [kin["number"] for kin in found["ancestors"]] == [2]


def test_the_log_says_where_it_ends(service: Service, study: str) -> None:
    assert get(service, f"/v1/trials/{study}-0/log")["end"] == 0


def test_progression_tells_what_had_been_spent(service: Service) -> None:
    study = service.create()["id"]
    runner = service.runner(study)
    runner.counts = {TrialState.RUNNING: 1}
    runner.commit(start(0, 0), report(0, 0, 3.0, 0.5), best=[incumbent(0, 0.5)], improved=True)
    runner.counts = {TrialState.COMPLETED: 1, TrialState.RUNNING: 1}
    runner.commit(ended(0, 0, TrialState.COMPLETED), start(1, 1))
    runner.commit(report(1, 1, 1.0, 0.2), best=[incumbent(1, 0.2)], improved=True)
    runner.counts = {TrialState.COMPLETED: 1, TrialState.STOPPED: 1}
    runner.commit(ended(1, 1, TrialState.STOPPED, JobEnd.CANCELLED), state=StudyState.COMPLETED)

    found = get(service, f"/v1/studies/{study}/progression")

    assert (found["metric"], found["resource"]) == ("loss", "steps")
    assert [(step["trial"], step["value"], step["trials"]) for step in found["steps"]] == [(0, 0.5, 1), (1, 0.2, 2)]
    # The whole first leg, and half of what the second one got to.
    assert [step["resource"] for step in found["steps"]] == [0.0, pytest.approx(3.5)]
    assert found["now"] == {"trials": 2, "seconds": 4.0, "resource": pytest.approx(4.0)}


@sqlite_only
def test_progression_is_of_the_first_goal_and_leaves_out_what_misses_a_bound(service: Service) -> None:
    objectives = [{"metric": "size", "bound": 10.0}, {"metric": "loss"}]
    study = service.create(objectives=objectives)["id"]
    runner = service.runner(study)
    runner.commit(start(0, 0), start(1, 1))
    for trial, loss, size in ((0, 0.1, 20.0), (1, 0.5, 1.0)):
        runner.commit(best=[Incumbent(trial, {"x": 0.1}, 3.0, {"loss": loss, "size": size})], improved=True)

    found = get(service, f"/v1/studies/{study}/progression")

    assert found["metric"] == "loss"
    assert [step["value"] for step in found["steps"]] == [None, 0.5]


@sqlite_only
def test_progression_is_thinned_and_empty_without_an_incumbent(service: Service) -> None:
    study = service.create()["id"]
    assert get(service, f"/v1/studies/{study}/progression")["steps"] == []

    runner = service.runner(study)
    runner.commit(start(0, 0))
    for at in range(10):
        runner.commit(best=[incumbent(0, 1.0 - at / 10)], improved=True)

    found = get(service, f"/v1/studies/{study}/progression?points=4")
    assert [round(step["value"], 1) for step in found["steps"]] == [1.0, 0.7, 0.4, 0.1]
    assert get(service, f"/v1/studies/{'0' * 16}/progression", 404)


# States


def keep(service: Service, study: str, trial: int, root: Path, *resources: float) -> None:
    store = CheckpointStore(service.settings.leg().checkpoint_url)
    for resource in resources:
        (root / "nested").mkdir(exist_ok=True)
        (root / "nested" / "model").write_text(f"{trial} at {resource:g}")
        store.put(study, trial, resource, root, keep=set(resources))


@sqlite_only
@pytest.mark.parametrize(("query", "resource"), [("", 6.0), ("?resource=6", 6.0), ("?resource=3.0", 3.0)])
def test_a_state_is_sent_as_an_archive(
    service: Service, study: str, tmp_path: Path, query: str, resource: float
) -> None:
    (tmp_path / "state").mkdir()
    keep(service, study, 2, tmp_path / "state", 3.0, 6.0)

    answer = service.client.get(f"/v1/trials/{study}-2/checkpoint{query}")

    assert answer.status_code == 200
    assert float(answer.headers["Tunewright-Resource"]) == resource
    assert f'filename="checkpoint-{study}-2-{resource:g}.tar"' in answer.headers["Content-Disposition"]
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as members:
        (member,) = members
        file = members.extractfile(member)
        assert file is not None
        assert (member.name, file.read()) == ("nested/model", f"2 at {resource:g}".encode())


@sqlite_only
def test_a_state_that_is_not_kept_is_named_with_those_that_are(service: Service, study: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    keep(service, study, 2, tmp_path / "state", 3.0, 6.0)

    other = get(service, f"/v1/trials/{study}-2/checkpoint?resource=9", 404)
    none = get(service, f"/v1/trials/{study}-0/checkpoint", 404)
    nothing = get(service, f"/v1/trials/{study}-99/checkpoint", 404)

    assert "no state at 9; there is one at 6, 3" in other["detail"]
    assert "no state of trial" in none["detail"]
    assert "does not exist" in nothing["detail"]
    for wrong in ("-1", "nan", "inf", "x"):
        assert "resource" in get(service, f"/v1/trials/{study}-2/checkpoint?resource={wrong}", 422)["detail"]
    for trick in (f"{study}-2%2F..%2F..", "..-2", f"{study}--2"):
        assert service.client.get(f"/v1/trials/{trick}/checkpoint").status_code == 404


@sqlite_only
def test_a_store_of_states_that_is_away_is_said_to_be(
    service: Service, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(CheckpointStore, "look", away)

    assert "try again" in get(service, f"/v1/trials/{study}-2/checkpoint", 503)["detail"]
