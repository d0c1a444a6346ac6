"""OnlineTune keeps what its docstring promises, over whole sessions on simulated servers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optimizers.errors import OptimizerError
from optimizers.onlinetune import Interval, OnlineTune, OnlineTuneSettings, Rule, SecondNoise, SequentialTest, Target
from optimizers.onlinetune.rules import RuleBook
from optimizers.onlinetune.simulated import SimulatedDatabase
from tunewright.space import Float, SearchSpace
from tunewright.study import Objective

SPACE = SearchSpace([Float("a", 0.0, 1.0, default=0.2), Float("b", 0.0, 1.0, default=0.5)])
TARGET = Target(SPACE, SPACE.default(), Objective(metric="tps", direction="maximize"), ("rate",), seconds=60.0)
CALM = (1.0,)


def _told(tuner: OnlineTune, database: SimulatedDatabase, count: int, rules: bool = True) -> list[Interval]:
    """Run a server for some intervals under a tuner; what it was told."""
    told: list[Interval] = []
    for _ in range(count):
        suggestion = tuner.suggest(database.context(), database.rules if rules else [])
        outcome = database.run(suggestion.config)
        told.append(
            Interval(
                suggestion=suggestion,
                config=outcome.config,
                context=outcome.context,
                performance=outcome.performance,
                seconds=outcome.seconds,
            )
        )
        tuner.tell(told[-1])
    return told


def _server(schedule: Any = "switch", seed: int = 3, knobs: int = 10, **fields: Any) -> SimulatedDatabase:
    return SimulatedDatabase("bowls", schedule, seed, knobs=knobs, intervals=80, **fields)


def _answer(tuner: OnlineTune, truth: Any, rules: Any = (), noise: float = 0.0, **fields: Any) -> Interval:
    """One interval of a server whose gain over 100 tps is `truth(config)`, as a logarithm."""
    suggestion = tuner.suggest(CALM, rules)
    gain = truth(suggestion.config) + noise * np.random.default_rng(suggestion.number).standard_normal()
    interval = Interval(
        **{
            "suggestion": suggestion,
            "config": suggestion.config,
            "context": CALM,
            "performance": float(100.0 * np.exp(gain)),
            "seconds": 60.0,
            **fields,
        }
    )
    tuner.tell(interval)
    return interval


def _bowl(config: Any) -> float:
    return 2.0 * (0.25 - (config["a"] - 0.7) ** 2)


def test_a_session_begins_with_the_reference() -> None:
    tuner = OnlineTune(TARGET, OnlineTuneSettings(warmup=3))

    kinds = [_answer(tuner, _bowl) for _ in range(4)]

    assert [each.suggestion.kind for each in kinds if each.suggestion][:3] == ["reference"] * 3
    assert all(each.config == SPACE.default() for each in kinds[:3])
    assert kinds[3].suggestion is not None
    assert kinds[3].suggestion.kind != "reference"


def test_suggesting_changes_nothing() -> None:
    database = _server()
    tuner = OnlineTune(database.target, guard=database.guard)
    _told(tuner, database, 12)

    first, other, again = (
        tuner.suggest(context, database.rules)
        for context in (database.context(), tuple(2 * v for v in database.context()), database.context())
    )

    assert first == again
    assert other.number == first.number


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_session_replays_from_its_journal_to_the_bit(direction: Any) -> None:
    database = _server(direction=direction)
    tuner = OnlineTune(database.target, guard=database.guard)
    journal = [each.model_dump_json() for each in _told(tuner, database, 45)]
    context = database.context()

    again = OnlineTune(database.target, guard=database.guard)
    for line in journal:
        again.tell(Interval.model_validate_json(line))

    assert again.count == tuner.count == 45
    assert again.state() == tuner.state()
    assert again.suggest(context, database.rules) == tuner.suggest(context, database.rules)
    follow = [_told(each, copy, 3) for each, copy in ((tuner, _at(45)), (again, _at(45)))]
    assert follow[0] == follow[1]


def _at(interval: int) -> SimulatedDatabase:
    database = _server()
    database.interval = interval
    return database


def test_another_seed_is_another_session() -> None:
    one, other = _server(), _server()
    tuners = [OnlineTune(replace(one.target, seed=seed)) for seed in (0, 1)]

    a, b = (_told(tuner, database, 6, rules=False)[-1] for tuner, database in zip(tuners, (one, other), strict=True))

    assert a.config != b.config


def test_what_is_suggested_is_no_worse_than_the_margin_at_its_bound_and_heeds_rules_and_guard() -> None:
    database = _server("gradual", knobs=20)
    tuner = OnlineTune(database.target, guard=database.guard)
    book = RuleBook(database.space, database.reference)

    told = _told(tuner, database, 60)

    for interval in told:
        suggestion = interval.suggestion
        assert suggestion is not None
        assert suggestion.lower >= -0.05 - 1e-9 or suggestion.kind == "advice"
        assert database.guard(suggestion.config) is None
        if suggestion.testing is None and not tuner.state()["rules"]:
            assert not book.forbidden(database.rules, np.array([suggestion.point])).any()


def test_a_session_gains_and_is_hardly_ever_unsafe() -> None:
    database = _server("steady", seed=1)
    tuner = OnlineTune(database.target, guard=database.guard)

    told = _told(tuner, database, 60)

    truths = np.array([float(database.gain(database.space.encode(each.config)[None], 0)[0]) for each in told])
    assert truths[-20:].mean() > 0.1
    assert (truths < np.log(0.95)).sum() <= 4


def test_it_climbs_where_there_are_no_rules() -> None:
    tuner = OnlineTune(TARGET)

    told = [_answer(tuner, _bowl, noise=0.01) for _ in range(40)]

    assert float(np.mean([_bowl(each.config) for each in told[-10:]])) > 0.35
    # This knob is far steeper than the model's prior has it.
    assert sum(_bowl(each.config) < np.log(0.95) for each in told) <= 3


def test_where_everything_else_is_worse_it_comes_back_to_the_reference() -> None:
    def peak(config: Any) -> float:
        return -4.0 * float((config["a"] - 0.2) ** 2 + (config["b"] - 0.5) ** 2)

    tuner = OnlineTune(TARGET)
    losses = [peak(_answer(tuner, peak, noise=0.01).config) for _ in range(30)]

    assert float(np.mean(losses[-10:])) > np.log(0.97)
    assert sum(loss < np.log(0.95) for loss in losses) <= 4


def test_rules_that_advise_to_move_lead_the_way() -> None:
    rule = Rule("a near 0.7", low={"a": 0.6}, high={"a": 0.8})

    advised, alone = (OnlineTune(TARGET) for _ in range(2))
    gains = [
        np.mean([_bowl(_answer(tuner, _bowl, rules, noise=0.02).config) for _ in range(40)])
        for tuner, rules in ((advised, [rule]), (alone, []))
    ]

    assert gains[0] > 0.2
    assert gains[0] > 0.8 * gains[1]


A_HIGH, B_HIGH = Rule("a near 0.7", low={"a": 0.6}, high={"a": 0.8}), Rule("b near 0.9", low={"b": 0.8})


def _advised(told: list[Interval]) -> list[dict[str, Any]]:
    return [each.config for each in told if each.suggestion and each.suggestion.kind == "advice"]


def test_the_advice_of_each_rule_is_taken_once() -> None:
    tuner = OnlineTune(TARGET)

    told = [_answer(tuner, lambda _: 0.0, [A_HIGH, B_HIGH]) for _ in range(30)]

    assert _advised(told) == [{"a": pytest.approx(0.7), "b": 0.5}, {"a": pytest.approx(0.7), "b": pytest.approx(0.9)}]
    assert [each.suggestion.advised for each in told[4:6] if each.suggestion] == [A_HIGH.id, B_HIGH.id]
    assert all(each.suggestion and each.suggestion.abort_below for each in told[4:6]), "it is watched"
    assert [each.suggestion.shape for each in told[4:6] if each.suggestion] == [None, None], "no subspace was searched"


@pytest.mark.parametrize(("harm", "times"), [(0.0, 2), (-0.3, 1)], ids=["the server was slow", "rightly"])
def test_advice_that_a_false_alarm_ended_has_one_more_chance(harm: float, times: int) -> None:
    tuner = OnlineTune(TARGET)
    told: list[Interval] = []
    for number in range(20):
        slow = -0.4 if number in (4, 5) else 0.0
        told.append(
            _answer(
                tuner,
                lambda config, slow=slow: slow + harm * (config["a"] > 0.6) + 0.4 * (config["b"] > 0.8),
                [A_HIGH, B_HIGH],
                noise=0.002,
                aborted=number == 4,
            )
        )

    taken = [each.suggestion.advised for each in told if each.suggestion]
    assert taken[4] == A_HIGH.id
    assert taken.count(A_HIGH.id) == times
    assert taken.count(B_HIGH.id) == 1
    assert tuner.state()["rules"][A_HIGH.id]["harmed"] == (harm < 0)


def test_what_changes_only_far_from_the_default_is_found_by_advice_and_built_upon() -> None:
    def plan(config: Any) -> float:
        return 1.0 * (config["a"] > 0.6) + 0.5 * (config["b"] > 0.8)

    tuner, alone = OnlineTune(TARGET), OnlineTune(TARGET, OnlineTuneSettings(advice=False))

    told = [_answer(tuner, plan, [A_HIGH, B_HIGH], noise=0.01) for _ in range(12)]

    assert [plan(config) for config in _advised(told)] == [1.0, 1.5]
    assert np.mean([plan(each.config) for each in told[6:]]) > 1.0
    assert max(plan(_answer(alone, plan, [A_HIGH, B_HIGH], noise=0.01).config) for _ in range(12)) < 1.0


def test_what_is_far_from_what_was_expected_has_the_reference_measured_next() -> None:
    tuner = OnlineTune(TARGET)
    first = [_answer(tuner, lambda _: 0.0, [A_HIGH]) for _ in range(4)]
    assert {each.suggestion.precision for each in first if each.suggestion} == {tuner.settings.margin}

    advice = _answer(tuner, lambda _: 1.0, [A_HIGH])
    after = [_answer(tuner, lambda config: 1.0 * (config["a"] > 0.6), [A_HIGH]) for _ in range(6)]

    assert advice.suggestion
    assert advice.suggestion.kind == "advice"
    kinds = [each.suggestion.kind for each in after if each.suggestion]
    assert kinds[0] == "reference", "was it the load?"
    assert after[0].suggestion
    assert after[0].suggestion.precision == pytest.approx(0.1), "a third of a riddle is precise enough"
    assert "reference" not in kinds[1:]
    assert min(float(each.config["a"]) for each in after[1:]) > 0.6, "it was the setting"
    assert after[-1].suggestion
    assert after[-1].suggestion.reference_performance == pytest.approx(100.0, rel=0.03)


@pytest.mark.parametrize(("gain", "stays"), [(0.0, True), (-0.04, False)])
def test_advice_that_does_neither_good_nor_harm_is_followed_from_then_on(gain: float, stays: bool) -> None:
    tuner = OnlineTune(TARGET)

    told = [_answer(tuner, lambda config: gain * (config["a"] > 0.6), [A_HIGH], noise=0.002) for _ in range(25)]

    assert len(_advised(told)) == 1
    after = [float(each.config["a"]) for each in told[8:]]
    kept = [a for a in after if a > 0.6]
    assert len(kept) >= 0.7 * len(after) if stays else len(kept) <= 0.3 * len(after)


def test_rules_choose_among_settings_that_do_much_the_same_and_no_others() -> None:
    space = SearchSpace([Float(name, 0.0, 1.0, default=0.2) for name in "abcd"])
    rules = [Rule(name, low={name: 0.6}) for name in "abcd"]
    tuner = OnlineTune(replace(TARGET, space=space, reference=space.default()))

    def followed(config: Any) -> int:
        return sum(value > 0.59 for value in config.values())

    told = [_answer(tuner, lambda config: -0.012 * followed(config), rules, noise=0.001) for _ in range(40)]

    assert len(_advised(told)) == 4
    centres = [each.suggestion.centre for each in told[20:] if each.suggestion]
    assert {followed(space.decode(np.array(centre))) for centre in centres} == {1}, "what each costs adds up"


@pytest.mark.parametrize(("loss", "stays"), [(0.085, True), (0.12, True), (0.2, False)])
def test_advice_is_not_dropped_for_what_one_noisy_interval_does_not_tell(loss: float, stays: bool) -> None:
    tuner, rules, taken = OnlineTune(TARGET), [B_HIGH, A_HIGH], ""
    while taken != A_HIGH.id:
        # The noise of that interval hides half of the smallest loss.
        told = _answer(tuner, lambda config: 0.6 * (config["b"] > 0.8) - loss * (config["a"] > 0.6), rules, noise=0.03)
        taken = (told.suggestion and told.suggestion.advised) or ""

    centre = tuner.suggest(CALM, rules).centre

    assert centre[1] > 0.8
    assert (centre[0] > 0.6) == stays


def test_a_load_that_is_never_foreseen_has_the_reference_measured_ever_more_seldom() -> None:
    # So seldom re-checked for other reasons that riddles alone ask for it.
    tuner = OnlineTune(TARGET, OnlineTuneSettings(recheck=1_000))
    loads = np.random.default_rng(0).choice([-1.0, 1.0], 64)

    told = [_answer(tuner, lambda _, load=load: load) for load in loads]

    asked = [n for n, each in enumerate(told) if each.suggestion and each.suggestion.kind == "reference"][4:]
    gaps = np.diff([3, *asked])
    assert all(gap >= least for gap, least in zip(gaps, [2, 3, 5, 9, *[12] * len(gaps)], strict=False)), gaps
    assert gaps[0] == 2, "at once"
    assert gaps[1] < 9, "soon"
    assert len(asked) >= 4, "it is still measured"


def test_what_is_ended_early_against_all_expectation_has_the_reference_measured_next_whatever_came_before() -> None:
    tuner, loads = OnlineTune(TARGET), np.random.default_rng(0).choice([-1.0, 1.0], 34)
    for load in loads:
        _answer(tuner, lambda _, load=load: load)
    assert tuner.suggest(CALM).kind != "reference"

    _answer(tuner, lambda _: -4.0)
    patient = tuner.suggest(CALM)
    _answer(tuner, lambda _: -4.0, aborted=True)

    assert patient.kind != "reference"
    assert tuner.suggest(CALM).kind == "reference"


def test_whatever_is_ended_early_has_the_reference_measured_next() -> None:
    tuner = OnlineTune(TARGET)
    for _ in range(8):
        _answer(tuner, lambda _: 0.0, noise=0.01)
    assert tuner.suggest(CALM).kind != "reference"

    _answer(tuner, lambda _: -0.15, aborted=True)

    assert tuner.suggest(CALM).kind == "reference"


def test_advice_that_surprises_is_always_asked_about() -> None:
    space = SearchSpace([Float(name, 0.0, 1.0, default=0.2) for name in "abc"])
    rules = [Rule(name, low={name: 0.8}) for name in "abc"]
    tuner = OnlineTune(replace(TARGET, space=space, reference=space.default()))

    told = [_answer(tuner, lambda config: sum(v > 0.6 for v in config.values()), rules, noise=0.01) for _ in range(12)]

    kinds = [each.suggestion.kind for each in told if each.suggestion]
    advised = [n for n, kind in enumerate(kinds) if kind == "advice"]
    assert len(advised) == 3
    assert [kinds[n + 1] for n in advised] == ["reference"] * 3


def test_no_more_advice_is_taken_once_it_did_harm_twice() -> None:
    space = SearchSpace([Float(name, 0.0, 1.0, default=0.2) for name in "abcd"])
    rules = [Rule(name, low={name: 0.8}) for name in "abcd"]
    tuner = OnlineTune(replace(TARGET, space=space, reference=space.default()))

    told = [_answer(tuner, lambda config: -max(0.0, max(config.values()) - 0.5), rules) for _ in range(30)]

    assert len(_advised(told)) == 2
    assert tuner.state()["rules"]["a"]["harmed"] == 1


@pytest.mark.parametrize("forbids", ["its own risk", "a hard rule", "the guard"])
def test_advice_is_not_taken_where_it_is_dangerous(forbids: str) -> None:
    rule = replace(A_HIGH, risk="high") if forbids == "its own risk" else A_HIGH
    hard = [Rule("a at most 0.5", high={"a": 0.5}, hard=True)] if forbids == "a hard rule" else []
    guard = (lambda config: "memory" if config["a"] > 0.5 else None) if forbids == "the guard" else None
    tuner = OnlineTune(TARGET, guard=guard)

    told = [_answer(tuner, _bowl, [rule, *hard], noise=0.01) for _ in range(20)]

    assert not _advised(told)


def test_a_hard_rule_is_never_broken_whatever_it_costs() -> None:
    tuner, rule = OnlineTune(TARGET), Rule("a at most 0.4", high={"a": 0.4}, hard=True)

    told = [_answer(tuner, _bowl, [rule], noise=0.01) for _ in range(40)]

    assert max(float(each.config["a"]) for each in told) <= 0.4 + 1e-9


def test_a_wrong_rule_is_contradicted_tested_and_relaxed() -> None:
    tuner, rule = OnlineTune(TARGET), Rule("a at most 0.3", high={"a": 0.3})

    told = [_answer(tuner, _bowl, [rule], noise=0.005) for _ in range(60)]

    record = tuner.state()["rules"]["a at most 0.3"]
    assert record["conflicts"] > 0 or record["relaxed"] > 0
    assert any(each.suggestion and each.suggestion.testing for each in told)
    assert max(float(each.config["a"]) for each in told) > 0.3


def test_settings_that_could_not_be_measured_are_unsafe_and_never_suggested_again() -> None:
    tuner = OnlineTune(TARGET)
    for _ in range(8):
        _answer(tuner, _bowl, noise=0.01)
    dead = _answer(tuner, _bowl, performance=None)

    later = [_answer(tuner, _bowl, noise=0.01) for _ in range(15)]

    assert tuner.unsafe(dead)
    assert dead.config not in [each.config for each in later]


def test_a_guard_is_heeded_wherever_the_model_would_go() -> None:
    tuner = OnlineTune(TARGET, guard=lambda config: "too much memory" if float(config["a"]) > 0.5 else None)

    told = [_answer(tuner, _bowl, noise=0.01) for _ in range(40)]

    assert max(float(each.config["a"]) for each in told) <= 0.5


def test_clamped_settings_are_learnt_as_what_they_really_were() -> None:
    tuner = OnlineTune(TARGET)
    for _ in range(5):
        _answer(tuner, _bowl)
    suggestion = tuner.suggest(CALM)
    config = {**suggestion.config, "a": 0.123}

    tuner.tell(Interval(suggestion=suggestion, config=config, context=CALM, performance=100.0, seconds=60.0))

    np.testing.assert_allclose(tuner._performance.points[-1][0], 0.123)


def test_somebody_elses_settings_are_learnt_from() -> None:
    tuner = OnlineTune(TARGET)
    for _ in range(6):
        _answer(tuner, _bowl, noise=0.005)
    for number in range(4):
        gain = _bowl({"a": 0.7}) + 0.005 * (-1) ** number
        performance = float(100.0 * np.exp(gain))
        tuner.tell(Interval(config={"a": 0.7, "b": 0.5}, context=CALM, performance=performance, seconds=60.0))

    suggestion = tuner.suggest(CALM)

    assert suggestion.centre[0] == pytest.approx(0.7)
    assert suggestion.centre_gain > 0.3


def test_unsafe_is_what_was_seen_below_the_margin() -> None:
    tuner = OnlineTune(TARGET)
    for _ in range(8):
        _answer(tuner, lambda config: 0.0, noise=0.002)
    interval = _answer(tuner, lambda config: 0.0)
    assert interval.suggestion is not None
    expected = interval.suggestion.reference_performance
    assert expected == pytest.approx(100.0, rel=0.01)

    good, bad = (interval.model_copy(update={"performance": expected * factor}) for factor in (0.951, 0.949))

    assert not tuner.unsafe(good)
    assert tuner.unsafe(bad)
    assert not tuner.unsafe(good.model_copy(update={"aborted": True})), "a false alarm"
    assert tuner.unsafe(bad.model_copy(update={"aborted": True}))
    assert tuner.unsafe(good.model_copy(update={"performance": None}))
    assert not tuner.unsafe(good.model_copy(update={"suggestion": None}))


def _under(tuner: OnlineTune, context: tuple[float, ...], load: float, **fields: Any) -> Interval:
    """One interval that was decided on in calm, and measured in some context, where the reference does `load` tps."""
    suggestion = tuner.suggest(CALM)
    performance = load * float(np.exp(_bowl(suggestion.config)))
    interval = Interval(
        suggestion=suggestion,
        config=suggestion.config,
        context=context,
        performance=performance,
        seconds=60.0,
        **fields,
    )
    told = tuner.expecting(interval)
    tuner.tell(interval)
    return told


def test_a_load_that_falls_is_no_fault_of_the_settings() -> None:
    tuner = OnlineTune(TARGET, OnlineTuneSettings(recheck=1_000))
    for number in range(24):
        context, load = (CALM, 100.0) if number % 2 else ((-3.0,), 5.0)
        _under(tuner, context, load)
    caution = tuner.state()["caution"]

    fallen = [_under(tuner, (-3.0,), 5.0, aborted=True) for _ in range(3)]

    assert any(each.suggestion and each.suggestion.kind != "reference" for each in fallen)
    assert all(each.expected and each.expected.reference == pytest.approx(5.0, rel=0.15) for each in fallen)
    assert not any(tuner.unsafe(each) for each in fallen)
    assert tuner.state()["caution"] <= caution


@pytest.mark.parametrize("seed", range(4))
def test_a_load_that_falls_to_a_thirtieth_costs_one_interval_that_is_ended_early_at_most(seed: int) -> None:
    tuner, rng = OnlineTune(replace(TARGET, features=("rate", "mix"))), np.random.default_rng(seed)
    early: list[bool] = []
    seen = (0.0, 0.0)
    for number in range(34):
        fallen = number >= 20
        suggestion = tuner.suggest(seen)
        load = (33.0 if fallen else 1000.0) * np.exp(0.02 * rng.standard_normal())
        performance = float(load * np.exp(_bowl(suggestion.config)))
        bound = suggestion.abort_below if suggestion.kind != "reference" else None
        early.append(bound is not None and performance < bound)
        context = (-3.0 * fallen + 0.02 * rng.standard_normal(), fallen + 0.02 * rng.standard_normal())
        tuner.tell(
            Interval(
                suggestion=suggestion,
                config=suggestion.config,
                context=context,
                performance=performance,
                seconds=20.0 if early[-1] else 60.0,
                aborted=early[-1],
            )
        )
        seen = context

    assert not any(early[:20])
    assert sum(early) <= 1


def test_what_was_expected_is_learnt_from_as_it_was_written_down() -> None:
    tuner, again = OnlineTune(TARGET), OnlineTune(TARGET)

    for _ in range(12):
        again.tell(_under(tuner, CALM, 100.0))

    assert again.state() == tuner.state()
    assert again.suggest(CALM) == tuner.suggest(CALM)


def test_unsafe_intervals_make_a_session_more_cautious() -> None:
    tuner = OnlineTune(TARGET)
    for _ in range(6):
        _answer(tuner, lambda config: 0.0, noise=0.002)
    before = tuner.state()["caution"]

    _answer(tuner, lambda config: -0.5)

    assert tuner.state()["caution"] > before


def test_the_reference_is_measured_again_in_time() -> None:
    tuner = OnlineTune(TARGET, OnlineTuneSettings(recheck=10))

    kinds = [interval.suggestion.kind for _ in range(40) if (interval := _answer(tuner, _bowl, noise=0.01)).suggestion]

    gaps = np.diff([number for number, kind in enumerate(kinds) if kind == "reference"])
    assert len(gaps) >= 4
    assert gaps.max() <= 11


def test_the_bound_for_the_test_of_seconds_lies_below_the_expected_reference() -> None:
    better, less = TARGET, replace(TARGET, objective=Objective(metric="p95", direction="minimize"))
    for target, sign in ((better, 1), (less, -1)):
        tuner = OnlineTune(target)
        for _ in range(6):
            _answer(tuner, lambda config: 0.0, noise=0.002)
        suggestion = tuner.suggest(CALM)
        assert suggestion.abort_below is not None
        assert suggestion.reference_performance is not None
        assert sign * (suggestion.reference_performance - suggestion.abort_below) > 0


def test_an_early_abort_saves_work_that_would_be_lost() -> None:
    database = SimulatedDatabase("ridges", "steady", 2)
    points = np.random.default_rng(0).random((300, database.space.dimension))
    worst = database.space.decode(points[int(database.gain(points, 0).argmin())])
    tuner = OnlineTune(database.target)
    stretches = [_told(tuner, database, 1, rules=False) and database.run(database.reference).samples for _ in range(5)]
    bound = tuner.suggest(database.context()).abort_below
    assert bound is not None

    aborted = database.run(worst, SequentialTest(bound, maximize=True, noise=SecondNoise.of(stretches)))

    assert aborted.aborted
    assert aborted.seconds <= 10


@pytest.mark.parametrize("part", ["clustering", "subspace", "white_box", "advice", "black_box"])
def test_every_part_can_be_switched_off(part: str) -> None:
    database = _server()
    tuner = OnlineTune(database.target, OnlineTuneSettings.model_validate({part: False}), database.guard)

    told = _told(tuner, database, 25)

    assert len(told) == 25
    if part == "subspace":
        assert all(each.suggestion and each.suggestion.shape is None for each in told)
    if part == "white_box":
        assert tuner.state()["rules"] == {}
    if part == "advice":
        assert not _advised(told)
    if part == "black_box":
        assert min(each.suggestion.lower for each in told if each.suggestion) < -0.05


def test_bad_input_is_refused_and_leaves_the_session_as_it_was() -> None:
    tuner = OnlineTune(TARGET)
    good = _answer(tuner, _bowl)
    state = tuner.state()

    with pytest.raises(OptimizerError, match='context: "rate" is nan'):
        tuner.suggest((float("nan"),))
    with pytest.raises(OptimizerError, match='"nope" is not one of'):
        tuner.suggest(CALM, [Rule("r", high={"nope": 1.0})])
    with pytest.raises(OptimizerError, match="number 0, but 1 comes next"):
        tuner.tell(good)
    with pytest.raises(OptimizerError, match=r"interval\.performance: -1\.0"):
        tuner.tell(good.model_copy(update={"suggestion": None, "performance": -1.0}))
    with pytest.raises(OptimizerError, match='"a" cannot be'):
        tuner.tell(good.model_copy(update={"suggestion": None, "config": {"a": "red", "b": 0.5}}))

    assert tuner.state() == state
    assert tuner.count == 1
    assert len(tuner._performance) == 1


@pytest.mark.parametrize("values", [{"margin": 1.0}, {"caution": -1}, {"warmup": 0}, {"recheck": 1}, {"unknown": 1}])
def test_settings_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        OnlineTuneSettings.model_validate(values)


def test_the_handbook_lists_every_setting_with_its_default() -> None:
    text = (Path(__file__).parents[3] / "docs" / "online-tune.md").read_text()

    for name, field in OnlineTuneSettings.model_fields.items():
        assert f"| `{name}` | {field.default} | {field.description} |" in text
