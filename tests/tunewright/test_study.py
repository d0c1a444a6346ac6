from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.tunewright.spaces import spaces
from tunewright.errors import SpecError
from tunewright.space import Categorical, SearchSpace
from tunewright.study import Budget, Fidelity, Objective, OptimizerSpec, StudySpec, StudyState, finite

TEXT = """
name: boosted trees
workload: xgboost
optimizer: random
budget: {trials: 20}
space:
  learning_rate: {type: float, low: 1e-3, high: 0.5, log: true}
  booster: {type: categorical, choices: [gbtree, dart]}
  rate_drop: {type: float, low: 0, high: 0.5, when: {booster: dart}}
"""


def spec(**fields: Any) -> StudySpec:
    return StudySpec.model_validate({"name": "s", "workload": "w", "budget": {"trials": 1}, **fields})


def test_yaml_file_text_json_and_python_are_the_same_study(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(TEXT)

    study = StudySpec.from_yaml(path)

    assert study == StudySpec.from_yaml(TEXT)
    assert study == StudySpec.model_validate_json(study.model_dump_json())
    assert study == StudySpec.from_yaml(study.to_yaml())
    assert study == StudySpec.from_yaml(study.model_dump_json())
    assert study.optimizer == OptimizerSpec(name="random")


@given(space=spaces(), seed=st.integers(0, 2**32 - 1), trials=st.integers(1, 1_000_000))
def test_every_study_survives_yaml(space: SearchSpace, seed: int, trials: int) -> None:
    study = spec(space=space, seed=seed, budget={"trials": trials})

    again = StudySpec.from_yaml(study.to_yaml())

    assert again == study
    assert again.space is not None
    assert again.space.canonical_json() == space.canonical_json()


@pytest.mark.parametrize("choices", [["1e-3", "1e4", "-2E+5", "1.e3"], ["on", "no", "null", "~", "0x1f", "1_000"]])
def test_strings_that_look_like_something_else_stay_strings(choices: list[str]) -> None:
    study = spec(space=[Categorical("x", choices)])

    assert StudySpec.from_yaml(study.to_yaml()) == study


def test_yaml_is_readable_in_every_script() -> None:
    assert "name: größer 大きい 🙂\n" in spec(name="größer 大きい 🙂").to_yaml()


def test_exponents_are_numbers_in_yaml() -> None:
    study = StudySpec.from_yaml(
        "{name: s, workload: w, budget: {trials: 1}, space: {x: {type: ordinal, choices: [1e-4, 1E-3, 1.0e-2]}}}"
    )

    assert study.space is not None
    assert study.space["x"].choices == [1e-4, 1e-3, 1e-2]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "study: not valid YAML"),
        ("- a\n- b", "expected a mapping with name, workload and budget, not list"),
        ("", "expected a mapping with name, workload and budget, not NoneType"),
        ("study.yaml", "expected a mapping .* not str"),
        ("!!python/object/apply:os.getcwd []", "study: not valid YAML"),
    ],
)
def test_text_that_is_no_study_says_so(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        StudySpec.from_yaml(text)


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"study: cannot read .*missing\.yaml"):
        StudySpec.from_yaml(tmp_path / "missing.yaml")

    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(SpecError, match=r"study: cannot read .*latin\.yaml"):
        StudySpec.from_yaml(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(), "budget: give trials or seconds, else the study would never end"),
        (lambda: Budget(target=0.1), "budget: give trials or seconds"),
        (lambda: Budget(trials=0), "trials\n.*greater than or equal to 1"),
        (lambda: Budget(seconds=float("inf")), "seconds\n.*finite"),
        (lambda: Fidelity(name="e", min=9, max=3), r"fidelity.min \(9.0\) must be at most fidelity.max \(3.0\)"),
        (lambda: Fidelity(name="e", max=2.5), "must be whole numbers, or set integer: false"),
        (lambda: Fidelity(name="e", min=0, max=3), "min\n.*greater than 0"),
        (lambda: Fidelity(name="e", max=float("nan")), "max\n"),
        (lambda: Objective(metric="loss", bound=float("nan")), "bound\n.*finite"),
        (lambda: Objective.model_validate({"metric": "loss", "direction": "down"}), "direction\n.*'minimize'"),
        (lambda: spec(objectives=[{"metric": "a"}, {"metric": "a"}]), 'objectives: metric "a" stands twice'),
        (lambda: spec(objectives=[{"metric": "a", "bound": 1}]), "all are constraints; leave bound out"),
        (lambda: spec(parallel=0), "parallel\n"),
        (lambda: spec(seed=-1), "seed\n"),
        (lambda: spec(paralel=2), "paralel\n.*not permitted"),
        (lambda: spec(name=""), "name\n"),
        (lambda: spec(optimizer={"name": "asha", "setings": {}}), "optimizer.setings\n"),
        (lambda: spec(space=[]), "the search space is empty"),
    ],
)
def test_wrong_field_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


def test_sign_turns_a_score_into_a_loss() -> None:
    assert Objective(metric="loss").sign == 1
    assert Objective(metric="accuracy", direction="maximize").sign == -1


def test_only_ended_states_are_final() -> None:
    assert [state.value for state in StudyState if state.final] == ["completed", "failed", "cancelled"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((1, True), (0.5, True), (True, False), (float("nan"), False), (float("inf"), False), ("1", False)),
        *((None, False), (-1e308, True), (10**400, False), (-(10**400), False)),
    ],
)
def test_finite_means_a_real_number(value: Any, expected: bool) -> None:
    assert finite(value) is expected
