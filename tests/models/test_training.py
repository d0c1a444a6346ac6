from __future__ import annotations

import math

import pytest

from models.training import train
from tunewright.errors import TrialStopped
from tunewright.workload import Checkpoint, Leg


class Counter:
    """A learner whose whole state is how often it stepped."""

    def __init__(self):
        self.steps = 0

    def step(self, resource):
        self.steps += 1
        return {"loss": float(self.steps)}

    def save(self, directory):
        (directory / "steps").write_text(str(self.steps))

    def restore(self, directory):
        self.steps = int((directory / "steps").read_text())


class Stop:
    """A report that asks to stop at one resource."""

    def __init__(self, at=math.inf):
        self.at = at
        self.seen = []

    def __call__(self, resource, metrics):
        self.seen.append((resource, metrics["loss"]))
        if resource >= self.at:
            raise TrialStopped


def checkpoint_of(root, interval=math.inf):
    saved = []
    return Checkpoint(root, interval=interval, on_save=lambda resource, directory: saved.append(resource)), saved


def test_a_state_is_saved_at_the_end_of_the_leg_alone(tmp_path):
    checkpoint, saved = checkpoint_of(tmp_path)

    train(Counter(), Leg(0, 5), checkpoint=checkpoint, report=Stop())

    assert saved == [5]


def test_a_state_is_saved_whenever_one_is_due_and_once_at_the_end(tmp_path):
    checkpoint, saved = checkpoint_of(tmp_path, interval=0)

    train(Counter(), Leg(0, 3), checkpoint=checkpoint, report=Stop())

    assert saved == [1, 2, 3]


def test_a_stop_saves_what_was_reported_last_and_passes_on(tmp_path):
    checkpoint, saved = checkpoint_of(tmp_path)

    with pytest.raises(TrialStopped):
        train(Counter(), Leg(0, 9), checkpoint=checkpoint, report=Stop(at=4))

    assert saved == [4]


def test_the_next_leg_restores_and_continues(tmp_path):
    checkpoint, _ = checkpoint_of(tmp_path)
    train(Counter(), Leg(0, 2), checkpoint=checkpoint, report=Stop())
    report = Stop()

    train(Counter(), Leg(2, 4), checkpoint=checkpoint, report=report)

    assert report.seen == [(3, 3.0), (4, 4.0)]


def test_an_error_passes_and_saves_nothing(tmp_path):
    checkpoint, saved = checkpoint_of(tmp_path)

    def report(resource, metrics):
        raise ValueError("not finite")

    with pytest.raises(ValueError, match="not finite"):
        train(Counter(), Leg(0, 2), checkpoint=checkpoint, report=report)

    assert saved == []
