"""Boosted trees and the perceptron beyond the contract: every data set, every branch of their spaces, learning."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from models.data.catalog import CATALOG
from models.tabular.mlp import MLPWorkload
from models.tabular.xgboost import XGBoostWorkload
from tunewright.child import Reporter
from tunewright.errors import ReportError, WorkloadError
from tunewright.workload import Checkpoint, Leg

SAMPLED = {"subsample": 0.6, "colsample_bytree": 0.5}
DART = {**SAMPLED, "booster": "dart", "rate_drop": 0.4, "skip_drop": 0.2}


def run(workload, root, *, ends, seed=0, dataset="wine", threads=1, **changes):
    """Reports of a trial with the default configuration, changed, in legs that end at `ends`."""
    reports = []
    checkpoint = Checkpoint(root, interval=1000)
    config = workload.space.validate_config({**workload.space.default(), **changes})
    for start, end in zip((0, *ends), ends, strict=False):
        workload.run(
            config,
            Leg(start, end, seed),
            data={"dataset": dataset, "threads": threads},
            checkpoint=checkpoint,
            report=lambda resource, metrics: reports.append((resource, metrics)),
        )
    return reports


@pytest.mark.parametrize("dataset", CATALOG)
@pytest.mark.parametrize(
    ("workload", "changes"),
    [(XGBoostWorkload(), DART), (MLPWorkload(), {"dropout": 0.3})],
    ids=["xgboost", "mlp"],
)
def test_every_data_set_is_learned_and_resumed_exactly(workload, changes, dataset, tmp_path):
    whole = run(workload, tmp_path, ends=[8], dataset=dataset, **changes)

    legs = run(workload, tmp_path, ends=[3, 8], dataset=dataset, **changes)

    assert legs == whole
    assert whole[-1][1]["loss"] < whole[0][1]["loss"]
    assert set(whole[0][1]) == ({"loss", "r2"} if dataset == "diabetes" else {"loss", "error", "accuracy"})


@pytest.mark.parametrize("changes", [{}, SAMPLED, DART], ids=["plain", "sampled", "dart"])
def test_a_long_boosting_trial_is_resumed_exactly(changes, tmp_path):
    whole = run(XGBoostWorkload(), tmp_path, ends=[81], **changes)

    legs = run(XGBoostWorkload(), tmp_path, ends=[1, 3, 9, 27, 81], **changes)

    assert legs == whole


@pytest.mark.parametrize("activation", MLPWorkload.space["activation"].choices)
@pytest.mark.parametrize("optimizer", [{"optimizer": "adamw"}, {"optimizer": "sgd", "momentum": 0.9}], ids=str)
def test_a_long_perceptron_trial_is_resumed_exactly(optimizer, activation, tmp_path):
    changes = {"activation": activation, "dropout": 0.3, "layers": 3, **optimizer}
    whole = run(MLPWorkload(), tmp_path, ends=[27], **changes)

    legs = run(MLPWorkload(), tmp_path, ends=[1, 3, 9, 27], **changes)

    assert legs == whole


@pytest.mark.slow
@pytest.mark.parametrize(("workload", "changes"), [(XGBoostWorkload(), DART), (MLPWorkload(), {})])
def test_two_threads_resume_exactly_too(workload, changes, tmp_path):
    whole = run(workload, tmp_path, ends=[4], threads=2, **changes)

    assert run(workload, tmp_path, ends=[2, 4], threads=2, **changes) == whole


@pytest.mark.parametrize(("workload", "changes"), [(XGBoostWorkload(), SAMPLED), (MLPWorkload(), {})])
def test_the_seed_decides(workload, changes, tmp_path):
    first, again, other = (run(workload, tmp_path, ends=[4], seed=seed, **changes) for seed in (1, 1, 2))

    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("workload", "rounds", "accuracy"),
    [(XGBoostWorkload(), 81, 0.95), (MLPWorkload(), 27, 0.96)],
    ids=["xgboost", "mlp"],
)
def test_the_default_configuration_learns_digits(workload, rounds, accuracy, tmp_path):
    reports = run(workload, tmp_path, ends=[rounds], dataset="digits")

    assert reports[-1][1]["accuracy"] > accuracy


@pytest.mark.parametrize("workload", [XGBoostWorkload(), MLPWorkload()], ids=["xgboost", "mlp"])
@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2", None])
def test_a_bad_number_of_threads_is_refused(workload, threads, tmp_path):
    with pytest.raises(WorkloadError, match=r"data\.threads: .* must be a whole number"):
        run(workload, tmp_path, ends=[1], threads=threads)


def test_a_perceptron_that_diverges_fails(tmp_path):
    class Channel:
        def send(self, message):
            pass

    config = {**MLPWorkload.space.default(), "learning_rate": 1e30}
    leg = Leg(0, 9)

    with pytest.raises(ReportError, match='objective "loss" is nan'):
        MLPWorkload().run(
            config,
            leg,
            data={"dataset": "wine"},
            checkpoint=Checkpoint(tmp_path),
            report=Reporter(Channel(), leg, ["loss"], 0),
        )


def test_a_value_that_xgboost_refuses_fails(tmp_path):
    with pytest.raises(Exception, match="subsample"):
        XGBoostWorkload().run(
            {"subsample": -1.0},
            Leg(0, 1),
            data={"dataset": "wine"},
            checkpoint=Checkpoint(tmp_path),
            report=lambda resource, metrics: None,
        )


def test_a_broken_state_fails_with_its_file_named(tmp_path):
    state = tmp_path / "state-1"
    state.mkdir()

    for workload in (XGBoostWorkload(), MLPWorkload()):
        with pytest.raises(Exception, match="state-1"):
            workload.run(
                workload.space.default(),
                Leg(1, 2),
                data={"dataset": "wine"},
                checkpoint=Checkpoint(tmp_path, latest=state, resource=1),
                report=lambda resource, metrics: None,
            )


@pytest.mark.parametrize("changes", [{"optimizer": "adamw"}, {"optimizer": "sgd", "momentum": 0.5}], ids=str)
def test_a_perceptron_that_goes_on_under_changed_settings_uses_them(changes, tmp_path):
    def improvement(learning_rate):
        """How far the loss falls from epoch 3 to 6, of a trial that goes on with another learning rate."""
        reports = []
        checkpoint = Checkpoint(Path(tempfile.mkdtemp(dir=tmp_path)), interval=1000)
        for start, end, rate in ((0, 3, 1e-3), (3, 6, learning_rate)):
            MLPWorkload().run(
                MLPWorkload.space.validate_config({**MLPWorkload.space.default(), **changes, "learning_rate": rate}),
                Leg(start, end, 0),
                data={"dataset": "wine"},
                checkpoint=checkpoint,
                report=lambda resource, metrics: reports.append(metrics["loss"]),
            )
        return reports[2] - reports[5]

    assert improvement(1e-2) > improvement(1e-3) > 2 * improvement(1e-4) > 0
