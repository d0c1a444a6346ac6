from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from optimizers.errors import OptimizerError
from optimizers.registry import OPTIMIZERS, create, describe
from optimizers.synthetic import branin


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_is_made_by_its_name(name: str) -> None:
    optimizer = create(name, {}, branin().problem(max_trials=1))

    assert type(optimizer) is OPTIMIZERS[name]
    assert optimizer.next_job() is not None


def test_settings_reach_the_optimizer() -> None:
    optimizer = create("asha", {"eta": 9}, branin().problem())

    assert [rung.level for rung in optimizer.rungs] == [1, 9, 81]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ahsa", {}, r'optimizer\.name: "ahsa" is unknown; known are asha, bayes, bohb, .*, tpe'),
        ("asha", {"etta": 3}, r"optimizer\.settings\.etta: unknown; eta, design, .* are known"),
        ("asha", {"eta": 1}, r"optimizer\.settings\.eta: 1 does not fit: .*greater than or equal to 1\.1"),
        ("asha", {"eta": float("nan")}, r"optimizer\.settings\.eta: nan does not fit"),
        ("random", {"design": "grid"}, r"optimizer\.settings\.design: 'grid' does not fit: .*'sobol', 'halton'"),
        (
            "bayes",
            {"surrogate": "svm"},
            r"optimizer\.settings\.surrogate: 'svm' does not fit: .*'auto', 'gp' or 'forest'",
        ),
        ("bayes", {"candidates": 0, "xi": -1}, r"settings\.candidates: 0 .*; optimizer\.settings\.xi: -1 does not fit"),
    ],
)
def test_wrong_name_or_setting_names_field_value_and_choices(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptimizerError, match=message):
        create(name, settings, branin().problem())


def test_optimizer_is_made_by_the_name_of_its_other_paper_too() -> None:
    assert type(create("a_bohb", {}, branin().problem())) is OPTIMIZERS["mobster"]


def test_descriptions_are_for_people_and_for_forms() -> None:
    found = describe()

    assert [each.name for each in found] == sorted(OPTIMIZERS)
    for each in found:
        assert len(each.text) > 80
        assert "\n" not in each.text
        fields = json.loads(json.dumps(each.settings))["properties"]
        assert all("description" in field and "default" in field for field in fields.values())


def test_heavy_libraries_wait_until_they_are_needed() -> None:
    code = (
        "import sys, optimizers.registry as r; r.describe(); "
        "from optimizers.synthetic import branin; "
        "r.create('bayes', {'surrogate': 'gp'}, branin().problem()); "
        "print([m for m in ('scipy', 'sklearn', 'torch', 'botorch', 'gpytorch') if m in sys.modules])"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_forest_does_not_import_torch() -> None:
    code = (
        "import sys, optimizers.registry as r; from optimizers.synthetic import branin; "
        "from optimizers.simulate import simulate; t = branin(); "
        "simulate(r.create('bayes', {'initial_trials': 2, 'surrogate': 'forest'}, t.problem(max_trials=5)), t); "
        "print([m for m in ('sklearn', 'torch') if m in sys.modules])"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "['sklearn']"
