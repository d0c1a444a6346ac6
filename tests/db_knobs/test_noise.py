"""Intervals that are too short for a server's checkpoints."""

from __future__ import annotations

import pytest

from db_knobs.noise import needed, of_checkpoints

STANDING = {"checkpoint_timeout": 300.0, "checkpoint_completion_target": 0.9}


@pytest.mark.parametrize("interval", [1.0, 29.0])
def test_an_interval_that_fits_between_two_checkpoints_is_told_with_the_remedy(interval: float) -> None:
    told = of_checkpoints(STANDING, interval)

    assert told is not None
    assert f"intervals of {interval:g} s" in told
    assert "`interval` of at least 30 s" in told


def test_an_interval_that_always_sees_a_checkpoint_is_fine() -> None:
    assert of_checkpoints(STANDING, 60.0) is None
    assert of_checkpoints({**STANDING, "checkpoint_completion_target": 1.0}, 1.0) is None


def test_a_server_without_such_checkpoints_says_nothing() -> None:
    assert needed("mariadb") == []
    assert of_checkpoints({}, 1.0) is None
    assert needed("postgresql") == list(STANDING)
