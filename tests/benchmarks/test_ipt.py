"""The benchmark of instance-wise prompts: its pairs, its choice of learning rates, and that it runs to its end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import _ipt_runs, ipt
from benchmarks._harness import interval
from benchmarks._ipt_runs import CONTENDERS, Runs, Setting
from models.data.text import load_texts


@pytest.fixture
def small(monkeypatch):
    """MiniLM's place is taken by a tiny random model."""
    from models.ipt.backbone import load_backbone

    for module in (_ipt_runs, ipt):
        monkeypatch.setattr(module, "load_backbone", lambda name: load_backbone("tiny-bert"))
    monkeypatch.setattr(ipt, "DATASETS", ("keywords",))
    monkeypatch.setattr(ipt, "cost", lambda contender, setting: {"step_seconds": 1.0, "memory_mb": 2.0})


def test_the_whole_benchmark_publishes_its_headlines(small, tmp_path):
    scale = ipt.Scale(("keywords",), (4, 8), [one.name for one in CONTENDERS], 2, 2, 8, 10, 20, True)

    ipt.main(["--json", str(tmp_path / "a.json")], scale)

    found = json.loads((tmp_path / "a.json").read_text())
    assert len(found["rows"]) == 2 * len(CONTENDERS)
    for name in ("ipt_minus_prompt_tuning_points", "ipt_minus_full_finetune_points", "ipt_tuned_share_percent"):
        assert name in found["headline"]
    for name in ("ipt_step_seconds", "lora_memory_mb", "full_finetune_step_seconds"):
        assert name in found["headline"]
    assert "ipt_minus_prompt_tuning_points_keywords_8_per_class_low" in found["headline"]


def test_a_part_of_it_says_how_it_is_repeated(small, tmp_path):
    scale = ipt.Scale(("keywords", "tweets"), (4, 8), ["linear probe", ipt.IPT, *ipt.RIVALS], 1, 1, 8, 0, 8, False)

    ipt.main(["--data", "keywords", "--few", "--json", str(tmp_path / "a.json")], scale)

    found = json.loads((tmp_path / "a.json").read_text())
    assert {(row["data set"], row["per class"]) for row in found["rows"]} == {("keywords", 4)}
    assert found["command"].endswith(" --data keywords --few")


def test_learning_rates_are_chosen_on_texts_that_are_not_measured_on():
    setting = Setting("keywords", 4, 1, 4, 10, 20)

    choosing, measuring = setting.texts(0, choosing=True), setting.texts(0, choosing=False)

    assert (len(choosing.valid), len(measuring.valid)) == (10, 20)
    assert not set(choosing.valid) & set(measuring.valid)
    assert choosing.train == measuring.train


def test_nobody_is_judged_on_texts_that_the_default_was_chosen_by():
    looked_at = load_texts("tweets").few(4, _ipt_runs.SEEN, 0).valid

    judged = Setting("tweets", 4, 1, 4, 100, 10_000).texts(0, choosing=False).valid

    assert len(judged) > 2_000
    assert not set(judged) & set(looked_at)


def test_the_best_of_the_rates_is_the_one_of_the_highest_accuracy(small, monkeypatch):
    runs = Runs()
    right = {1e-3: [False, True], 3e-3: [True, True], 1e-2: [True, True]}
    monkeypatch.setattr(runs, "right", lambda contender, rate, *_, **__: np.array(right[rate]))

    assert runs.best_rate(CONTENDERS[3], Setting("keywords", 4, 1, 4, 10, 20)) == 3e-3


def test_the_interval_counts_draws_and_texts():
    seeds_differ = np.array([[1.0], [2.0], [3.0]]) * np.ones((1, 400))
    texts_differ = np.ones((3, 1)) * np.array([[0.0, 100.0] * 200])

    mean, low, high = ipt._both_ways(seeds_differ)
    assert mean == 2
    assert (low, high) == pytest.approx(interval([1.0, 2.0, 3.0])[1:])
    mean, low, high = ipt._both_ways(texts_differ)
    assert mean == 50
    assert high - mean == pytest.approx(4.303 * 50 / 400**0.5, rel=1e-2)
    assert ipt._both_ways(np.array([[1.0, 3.0]])) == (2.0, 2.0, 2.0)


def test_the_interval_is_students():
    mean, low, high = interval([1.0, 2.0, 3.0])

    assert mean == 2
    assert high - mean == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert low == pytest.approx(4 - high)
    assert interval([2.0]) == (2.0, 2.0, 2.0)
