"""Studies of Optuna 5: one as it wrote it, kept as SQL; one that the installed Optuna writes, where there is one."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tunewright.live_service import LiveService
from tests.tunewright.test_cli import run
from tunewright.document import DocumentTrial
from tunewright.errors import SpecError
from tunewright.integrations.optuna_space import ObservedSpace
from tunewright.integrations.optuna_storage import read
from tunewright.space import Categorical, Float, Int, SearchSpace
from tunewright.study import Objective, TrialState

DUMP = Path(__file__).parent / "data" / "optuna-5.0.sql"
PEERS = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def url(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "optuna.db") as connection:
        connection.executescript(DUMP.read_text())
    connection.close()
    return f"sqlite:///{tmp_path / 'optuna.db'}"


def execute(url: str, statement: str) -> None:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute(statement)
    connection.close()


def by_number(trials: Iterator[DocumentTrial]) -> dict[int, DocumentTrial]:
    return {trial.number: trial for trial in trials}


def test_a_space_is_what_its_trials_drew_from(url: str) -> None:
    spec = read(url, "one").study.spec

    assert spec.space == SearchSpace(
        Float("lr", 1e-5, 0.1, log=True),
        Float("drop", 0.0, 0.5, step=0.1),
        Int("layers", 1, 9, step=2),
        Int("width", 8, 512, log=True),
        Categorical("kind", ["sgd", "adam", "None"]),
        Float("beta", 0.8, 0.999, when={"kind": "adam"}),
    )
    assert spec.objectives == [Objective(metric="value")]
    assert (spec.fidelity and spec.fidelity.name, spec.fidelity and spec.fidelity.max) == ("step", 4)
    assert (spec.name, spec.workload, spec.optimizer.name, spec.budget.trials) == ("one", "external", "tpe", 20)
    assert (spec.tags, spec.notes) == (["team=search"], "about: a longer text with blanks")


def test_trials_keep_values_states_and_attributes(url: str) -> None:
    study = read(url, "one")

    trials = by_number(study.trials())

    assert sorted(trials) == list(range(20))
    assert study.left_out == {"has not ended": 1}
    failed, pruned, whole = trials[3], trials[4], trials[0]
    assert (failed.state, failed.problem, failed.reports) == (TrialState.FAILED, "it failed in Optuna", [])
    assert pruned.state is TrialState.STOPPED
    assert [report.resource for report in pruned.reports] == [1, 2]
    assert [report.resource for report in whole.reports] == [1, 2, 3, 4]
    assert whole.reports[-1].metrics["value"] == pytest.approx(whole.config["lr"] + whole.config["layers"])
    assert whole.notes == "seen: 0"
    assert whole.started_at is not None
    assert whole.seconds == pytest.approx(0.218, abs=0.001)
    assert all(("beta" in trial.config) is (trial.config["kind"] == "adam") for trial in trials.values())


def test_several_objectives_keep_their_names_and_directions(url: str) -> None:
    study = read(url, "two")

    trials = by_number(study.trials())

    assert study.study.spec.objectives == [
        Objective(metric="loss"),
        Objective(metric="speed", direction="maximize"),
    ]
    assert study.study.spec.optimizer.name == "nsga2"
    assert all(
        trial.reports[0].metrics == {"loss": trial.config["x"], "speed": trial.config["y"]} for trial in trials.values()
    )


def test_a_value_that_is_not_finite_is_a_failure(url: str) -> None:
    execute(url, "UPDATE trial_values SET value = NULL, value_type = 'INF_POS' WHERE trial_id = 1")

    (first, *_) = read(url, "one").trials()

    assert (first.state, first.problem) == (TrialState.FAILED, "its value is not finite")
    assert [report.resource for report in first.reports] == [1, 2, 3]


def test_a_clock_that_went_back_in_a_trial_leaves_out_none(url: str) -> None:
    execute(url, "update trials set datetime_start = '2026-10-25 02:50:00', datetime_complete = '2026-10-25 02:10:00'")

    study = read(url, "one")

    assert study.study.active_seconds == 0
    assert {trial.seconds for trial in study.trials()} == {0}


@pytest.mark.parametrize(
    ("given", "name", "message"),
    [
        (None, None, "give the name of one of its studies; there are: one, two"),
        (None, "three", 'it has no study "three"; there are: one, two'),
        ("sqlite:////nowhere/x.db", None, "there is no file /nowhere/x.db"),
        ("rubbish", None, "this is no storage's URL"),
        ("nonesuch://host/x", None, "this is no storage's URL"),
    ],
)
def test_what_cannot_be_read_is_refused(url: str, given: str | None, name: str | None, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read(given or url, name)


def test_another_database_is_none_of_optunas(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()

    with pytest.raises(SpecError, match="there is no table studies"):
        read(f"sqlite:///{tmp_path / 'empty.db'}")


@pytest.mark.parametrize(
    ("table", "column"), [("trial_values", "value_type"), ("trial_intermediate_values", "intermediate_value_type")]
)
def test_a_storage_of_optuna_2_is_refused_with_what_brings_it_up_to_date(url: str, table: str, column: str) -> None:
    execute(url, f"ALTER TABLE {table} DROP COLUMN {column}")

    with pytest.raises(SpecError, match=f"{table} has no column {column}.*optuna storage upgrade"):
        read(url, "one")


def test_a_password_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read("postgresql+psycopg://me:canary@127.0.0.1:1/x")

    assert "canary" not in str(caught.value)


def distribution(kind: str, **attributes: object) -> str:
    return json.dumps({"name": kind, "attributes": attributes})


def test_distributions_of_earlier_releases_and_ranges_that_changed() -> None:
    old = distribution("LogUniformDistribution", low=0.1, high=1.0)
    wider = distribution("FloatDistribution", low=0.01, high=0.5, log=True, step=None)
    fixed = distribution("IntUniformDistribution", low=3, high=3, step=1)
    stepped = distribution("DiscreteUniformDistribution", low=0.0, high=1.0, q=0.25)

    space = ObservedSpace.of([("a", old), ("a", wider), ("b", fixed), ("c", stepped)], [])

    assert space.space() == SearchSpace(
        Float("a", 0.01, 1.0, log=True), Categorical("b", [3]), Float("c", 0.0, 1.0, step=0.25)
    )
    assert space.values({"b": (fixed, 3.0), "a": (old, 0.5)}) == {"b": 3, "a": 0.5}


def test_steps_that_begin_elsewhere_in_some_trials_keep_those_trials() -> None:
    def stepped(kind: str, low: float, high: float, step: float) -> str:
        return distribution(kind, low=low, high=high, log=False, step=step)

    names = ("drop", "layers", "aligned")
    first = (
        stepped("FloatDistribution", 0.0, 0.5, 0.1),
        stepped("IntDistribution", 1, 9, 2),
        stepped("FloatDistribution", 0.1, 0.5, 0.1),
    )
    second = (
        stepped("FloatDistribution", 0.05, 0.55, 0.1),
        stepped("IntDistribution", 2, 10, 2),
        stepped("FloatDistribution", 0.30000000000000004, 0.7, 0.1),
    )
    trials = [
        {name: (kind, stored) for name, kind, stored in zip(names, kinds, values, strict=True)}
        for kinds, values in ((first, (0.1, 3.0, 0.2)), (second, (0.15, 4.0, 0.6)))
    ]

    observed = ObservedSpace.of([*zip(names, first, strict=True), *zip(names, second, strict=True)], trials)

    space = observed.space()
    assert space == SearchSpace(Float("drop", 0.0, 0.55), Int("layers", 1, 10), Float("aligned", 0.1, 0.7, step=0.1))
    assert [space.complete(observed.values(trial)) for trial in trials] == [
        {"drop": 0.1, "layers": 3, "aligned": 0.2},
        {"drop": 0.15, "layers": 4, "aligned": 0.6},
    ]


def test_conditions_are_found_behind_conditions_and_chance_is_none() -> None:
    kinds = distribution("CategoricalDistribution", choices=["x", "y"])
    number = distribution("IntDistribution", low=1, high=3, log=False, step=1)
    names = ("kind", "size", "inner", "sometimes")
    distributions = [("kind", kinds), ("size", number), ("inner", number), ("sometimes", number)]
    trials = [
        {"kind": (kinds, 0.0), "sometimes": (number, 1.0)},
        {"kind": (kinds, 0.0)},
        {"kind": (kinds, 1.0), "size": (number, 1.0), "sometimes": (number, 2.0)},
        {"kind": (kinds, 1.0), "size": (number, 2.0), "inner": (number, 2.0)},
        {"kind": (kinds, 1.0), "size": (number, 3.0), "inner": (number, 1.0)},
    ]

    space = ObservedSpace.of(distributions, trials).space()

    assert {name: space[name].when for name in names} == {
        "kind": {},
        "size": {"kind": ["y"]},
        "inner": {"size": [2, 3]},
        "sometimes": {},
    }


def test_a_study_of_optuna_is_imported_and_starts_another(
    service: LiveService, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEWRIGHT_URL", service.url)

    answer = run("import", "--optuna", url, "--study", "one")

    assert answer.exit_code == 0, answer.output
    assert answer.stderr == "1 left out: a trial that has not ended\n"
    imported = service.repository.study(answer.stdout.strip())
    assert {state.value: count for state, count in imported.counts.items()} == {
        "completed": 15,
        "failed": 1,
        "stopped": 4,
    }
    best = min(
        (trial for trial in service.repository.trials(imported.id, limit=50).items if trial.state == "completed"),
        key=lambda trial: trial.metrics["value"],
    )
    assert imported.best[0].trial == best.number
    following = service.repository.create_study(
        imported.spec.model_copy(update={"warm_start": [imported.id], "name": "next"})
    )
    assert len(service.runner(following).journal.load().earlier) == 20


@pytest.mark.slow
@pytest.mark.skipif(not PEERS.exists(), reason="needs Optuna in .venv-peers")
def test_what_optuna_says_of_a_study_is_what_is_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    program = """
import json, sys, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(storage=sys.argv[1], study_name="s", direction="maximize")
def play(trial):
    a = trial.suggest_float("a", -1, 1)
    if trial.suggest_categorical("more", [True, False]):
        a += trial.suggest_int("b", 0, 10)
    return a
study.optimize(play, n_trials=30)
print(json.dumps([[t.params, t.value] for t in study.trials] + [study.best_trial.number]))
"""
    said = subprocess.run([str(PEERS), "-c", program, url], check=True, capture_output=True, text=True).stdout
    *trials, _ = json.loads(said)

    found = read(url)

    assert [[trial.config, trial.reports[0].metrics["value"]] for trial in found.trials()] == trials
    assert (found.left_out, found.filled) == ({}, 0)
