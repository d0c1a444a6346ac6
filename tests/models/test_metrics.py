from __future__ import annotations

import numpy as np
import pytest

from models.metrics import classification_metrics, regression_metrics


def test_log_loss_is_the_closed_form():
    margins = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], dtype=np.float32))

    metrics = classification_metrics(margins, np.array([0, 1]))

    assert metrics["loss"] == pytest.approx(-(np.log(0.7) + np.log(0.1)) / 2, rel=1e-6)
    assert metrics["error"] == 0.5
    assert metrics["accuracy"] == 0.5


def test_log_loss_of_a_very_sure_model_is_finite():
    margins = np.array([[1e4, -1e4]], dtype=np.float32)

    assert classification_metrics(margins, np.array([0]))["loss"] == 0
    assert classification_metrics(margins, np.array([1]))["loss"] == 2e4


@pytest.mark.parametrize("margin", [np.nan, np.inf])
def test_a_margin_that_is_not_finite_makes_no_figure_look_good(margin):
    found = classification_metrics(np.array([[margin, 0.0], [0.0, 1.0]]), np.array([0, 1]))

    assert np.isnan(list(found.values())).all()


def test_rmse_and_r2_are_the_closed_form():
    metrics = regression_metrics(np.array([1.0, 2.0, 6.0]), np.array([1.0, 2.0, 3.0]))

    assert metrics == {"loss": pytest.approx(np.sqrt(3)), "r2": pytest.approx(1 - 9 / 2)}
