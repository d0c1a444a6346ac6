"""The sequential test raises no alarms at the bound, and soon ones below it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from optimizers.errors import OptimizerError
from optimizers.onlinetune.sequential import NoiseMeter, SecondNoise, SequentialTest, reference_seconds

NOISE = SecondNoise(0.1, 0.5)


def _seconds(
    count: int, seconds: int, noise: SecondNoise = NOISE, shift: float = 0.0, seed: int = 0
) -> NDArray[np.float64]:
    """(count, seconds) performance around 100 * exp(shift)."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((count, seconds)) * noise.deviation * math.sqrt(1 - noise.correlation**2)
    white[:, 0] /= math.sqrt(1 - noise.correlation**2)
    return np.asarray(100.0 * np.exp(shift + lfilter([1.0], [1.0, -noise.correlation], white)))


def _alarm(samples: NDArray[np.float64], alpha: float = 0.05, maximize: bool = True) -> int | None:
    """The second of the alarm, from 1."""
    test = SequentialTest(100.0, maximize=maximize, noise=NOISE, alpha=alpha)
    return next((s + 1 for s, value in enumerate(samples) if test.observe(float(value))), None)


def test_false_alarms_at_the_bound_are_no_more_than_promised() -> None:
    alarms = sum(_alarm(row) is not None for row in _seconds(600, 120))

    # Three deviations of the binomial above 5%.
    assert alarms <= 600 * 0.05 + 3 * math.sqrt(600 * 0.05 * 0.95)


def test_better_settings_raise_hardly_any() -> None:
    assert sum(_alarm(row) is not None for row in _seconds(200, 120, shift=0.05)) <= 2


@pytest.mark.parametrize(("shift", "within"), [(-0.7, 6), (-0.3, 20), (-0.15, 60)])
def test_shortfalls_are_found_the_sooner_the_larger_they_are(shift: float, within: int) -> None:
    found = [_alarm(row) or 999 for row in _seconds(100, 120, shift=shift)]

    assert float(np.median(found)) <= within


def test_less_is_better_where_latencies_are_watched() -> None:
    slow, quick = _seconds(1, 60, shift=0.5)[0], _seconds(1, 60, shift=-0.5)[0]

    assert _alarm(slow, maximize=False) is not None
    assert _alarm(quick, maximize=False) is None


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_a_server_that_finishes_nothing_is_found_but_one_stall_is_forgiven(value: float) -> None:
    dead = np.full(20, value)
    hiccup = _seconds(1, 60, shift=0.3)[0]
    hiccup[10] = value

    assert (_alarm(dead) or 99) <= 5
    assert _alarm(hiccup, alpha=0.01) is None


def test_a_server_that_stalls_every_other_second_is_found() -> None:
    samples = _seconds(1, 120)[0]
    samples[::2] = 0.0

    assert (_alarm(samples, alpha=0.01) or 999) <= 30


def test_the_first_seconds_are_not_judged() -> None:
    samples = _seconds(1, 60)[0]
    samples[:2] = 1e-3

    assert _alarm(samples, alpha=0.01) is None


def test_noise_is_found_from_stretches_with_means_of_their_own() -> None:
    rows = _seconds(30, 60) * np.exp(np.linspace(-1, 1, 30))[:, None]

    found = SecondNoise.of(list(rows))

    assert found.deviation == pytest.approx(0.1, rel=0.1)
    assert found.correlation == pytest.approx(0.5, abs=0.07)


def test_noise_is_found_from_few_seconds_without_calling_smooth_noise_white() -> None:
    found = [SecondNoise.of([row]).correlation for row in _seconds(200, 20)]

    assert float(np.mean(found)) == pytest.approx(0.5, abs=0.1)


def test_seconds_that_do_not_vary_are_no_noise() -> None:
    assert SecondNoise.of([[5.0] * 10]) == SecondNoise(1e-6, 0.0)


@pytest.mark.parametrize(
    ("stretches", "words"), [([[1.0] * 7], "7 seconds are too few"), ([[1.0] * 9 + [0.0]], "must be positive")]
)
def test_noise_from_too_little_is_refused(stretches: list[list[float]], words: str) -> None:
    with pytest.raises(OptimizerError, match=words):
        SecondNoise.of(stretches)


def test_noise_is_what_was_known_before_until_enough_was_heard_and_of_the_newest_intervals() -> None:
    meter, quiet, loud = NoiseMeter(NOISE), _seconds(8, 30, SecondNoise(0.02, 0.0)), _seconds(1, 30)[0]

    meter.hear([0.0, math.nan, math.inf, 100.0])
    assert meter.noise == NOISE
    meter.hear([*loud, 0.0])
    assert meter.noise == SecondNoise.of([loud])
    for row in quiet:
        meter.hear(row.tolist())
    assert meter.noise == SecondNoise.of(list(quiet))


def test_a_mean_is_known_as_well_as_promised_after_so_many_seconds() -> None:
    seconds = round(NOISE.seconds(0.02))

    means = [math.log(float(row.mean())) for row in _seconds(2000, seconds)]

    assert float(np.std(means)) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("noise", "left", "seconds"),
    [
        (None, 60.0, 60.0),
        (SecondNoise(0.01, 0.0), 60.0, 20.0),
        (SecondNoise(0.25, 0.0), 60.0, 25.0),
        (SecondNoise(0.3, 0.5), 60.0, 60.0),
        (SecondNoise(0.01, 0.0), 40.0, 20.0),
        (SecondNoise(0.01, 0.0), 30.0, 30.0),
    ],
    ids=["unknown", "quiet", "noisy", "too noisy", "later", "nothing would follow"],
)
def test_the_reference_is_measured_until_it_is_known_to_the_margin(
    noise: SecondNoise | None, left: float, seconds: float
) -> None:
    assert reference_seconds(noise, 0.05, 60.0, left) == pytest.approx(seconds)


def test_the_reference_is_measured_for_two_seconds_and_without_a_margin_to_the_end() -> None:
    quiet = SecondNoise(0.01, 0.0)

    assert reference_seconds(quiet, 0.05, 5.0) == 2.0
    assert reference_seconds(quiet, 0.05, 3.0) == 3.0
    assert reference_seconds(quiet, 0.0, 60.0) == 60.0


@pytest.mark.parametrize(
    ("bound", "alpha", "words"), [(0.0, 0.05, "bound 0.0"), (math.nan, 0.05, "bound nan"), (1.0, 1.0, "alpha 1.0")]
)
def test_a_test_of_nothing_is_refused(bound: float, alpha: float, words: str) -> None:
    with pytest.raises(OptimizerError, match=words):
        SequentialTest(bound, maximize=True, noise=NOISE, alpha=alpha)
