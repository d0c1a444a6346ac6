"""Rules bound the search, come into doubt when the model keeps contradicting them, relax, and are put back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from optimizers.errors import OptimizerError
from optimizers.onlinetune.rules import Rule, RuleBook
from tunewright.space import Categorical, Float, Int, Ordinal, SearchSpace

SPACE = SearchSpace(
    [
        Float("mem", 0.0, 100.0, default=20.0),
        Int("cache", 1, 1024, log=True, default=32),
        Categorical("jit", ["on", "off", "auto"], default="on"),
        Ordinal("workers", [0, 1, 2, 4, 8, 16], default=4),
    ]
)
HIGH = Rule("mem at most 40", high={"mem": 40.0})


def _book() -> RuleBook:
    return RuleBook(SPACE, SPACE.default())


def _at(**values: Any) -> Any:
    return SPACE.encode({**SPACE.default(), **values})[None]


def _forbidden(book: RuleBook, rule: Rule, testing: str | None = None, **values: Any) -> bool:
    return bool(book.forbidden([rule], _at(**values), testing)[0, 0])


def _tests(book: RuleBook, rule: Rule) -> int:
    """In how many of 1000 intervals the rule would be tested."""
    rng = np.random.default_rng(0)
    return sum(book.testable([rule], rng) == rule.id for _ in range(1000))


def test_a_rule_forbids_what_lies_beyond_its_bounds() -> None:
    book = _book()
    rule = Rule("r", low={"cache": 16}, high={"mem": 40.0}, among={"jit": ["on", "off"]})

    assert not _forbidden(book, rule, mem=40.0, cache=16, jit="off")
    assert _forbidden(book, rule, mem=40.1)
    assert _forbidden(book, rule, cache=15)
    assert _forbidden(book, rule, jit="auto")


def test_a_rule_never_forbids_the_reference_nor_what_lies_between_it_and_the_bounds() -> None:
    book, rule = _book(), Rule("r", low={"mem": 50.0}, among={"jit": ["off"]})

    assert not _forbidden(book, rule)
    assert not _forbidden(book, rule, mem=30.0)
    assert _forbidden(book, rule, mem=19.0)
    assert _forbidden(book, rule, jit="auto")


def test_a_point_follows_the_rules_within_whose_bounds_it_lies() -> None:
    rules = [Rule("mem", low={"mem": 50.0}), Rule("both", low={"cache": 16}, among={"jit": ["off"]})]
    points = np.concatenate([_at(), _at(mem=60.0), _at(jit="off"), _at(mem=60.0, jit="off"), _at(cache=8, jit="off")])

    assert _book().followed(rules, points).tolist() == [0, 1, 1, 2, 0]
    assert _book().followed([], points).tolist() == [0] * 5


def test_a_rule_that_was_relaxed_is_followed_further_out() -> None:
    book = _book()
    for _ in range(4):
        book.learn((), HIGH.id, unsafe=False)

    assert book.followed([HIGH], np.concatenate([_at(mem=59.0), _at(mem=61.0)])).tolist() == [1, 0]


def test_advice_moves_into_the_middle_of_the_bounds_only_what_lies_outside() -> None:
    rule = Rule("r", low={"mem": 50.0}, high={"mem": 70.0, "cache": 512}, among={"jit": ["off"]})

    moved = SPACE.decode(_book().advice([rule], _at()[0]))

    assert moved == {"mem": pytest.approx(60.0), "cache": 32, "jit": "off", "workers": 4}


@pytest.mark.parametrize(("risk", "conflicts"), [("low", 3), ("high", 6)])
def test_a_rule_is_tested_after_enough_conflicts_and_not_every_time(risk: Any, conflicts: int) -> None:
    book, rule = _book(), Rule("r", high={"mem": 40.0}, risk=risk)
    for _ in range(conflicts - 1):
        book.learn(["r"], None, False)
    assert _tests(book, rule) == 0

    book.learn(["r"], None, False)

    assert 250 < _tests(book, rule) < 350


def test_a_test_reaches_half_as_far_again_and_no_further() -> None:
    book = _book()

    assert not _forbidden(book, HIGH, HIGH.id, mem=60.0)
    assert _forbidden(book, HIGH, HIGH.id, mem=60.1)
    assert _forbidden(book, HIGH, "another", mem=60.0)
    low = Rule("low", low={"cache": 32})
    assert not _forbidden(book, low, "low", cache=16)
    assert _forbidden(book, low, "low", cache=15)


def test_a_test_of_choices_opens_them_all() -> None:
    book, rule = _book(), Rule("r", among={"jit": ["on"]})

    assert _forbidden(book, rule, jit="auto")
    assert not _forbidden(book, rule, "r", jit="auto")


def test_a_test_of_choices_with_an_order_opens_the_next_one() -> None:
    book, rule = _book(), Rule("r", among={"workers": [2, 1]})

    assert [n for n in (0, 1, 2, 4, 8, 16) if not _forbidden(book, rule, "r", workers=n)] == [0, 1, 2, 4]
    assert [n for n in (0, 1, 2, 4, 8, 16) if not _forbidden(book, rule, workers=n)] == [1, 2, 4]


def test_what_lies_between_the_reference_and_choices_with_an_order_is_free() -> None:
    book, rule = _book(), Rule("r", among={"workers": [0]})

    assert [n for n in (0, 1, 2, 4, 8, 16) if not _forbidden(book, rule, workers=n)] == [0, 1, 2, 4]
    assert SPACE.decode(book.advice([rule], _at(workers=2)[0]))["workers"] == 0


def test_more_than_three_safe_tests_relax_a_rule() -> None:
    book = _book()
    for _ in range(3):
        book.learn([], HIGH.id, unsafe=False)
    assert _forbidden(book, HIGH, mem=60.0)

    book.learn([], HIGH.id, unsafe=False)

    assert not _forbidden(book, HIGH, mem=60.0)
    assert _forbidden(book, HIGH, mem=60.1)


def test_one_unsafe_test_restores_a_rule_and_doubles_its_threshold() -> None:
    book = _book()
    for _ in range(4):
        book.learn([], HIGH.id, unsafe=False)

    book.learn([], HIGH.id, unsafe=True)

    assert _forbidden(book, HIGH, mem=40.1)
    for _ in range(5):
        book.learn([HIGH.id], None, False)
    assert _tests(book, HIGH) == 0
    book.learn([HIGH.id], None, False)
    assert _tests(book, HIGH) > 0


def test_an_unsafe_interval_that_tested_nothing_leaves_rules_alone() -> None:
    book = _book()
    for _ in range(3):
        book.learn([HIGH.id], None, unsafe=True)

    assert book.state()[HIGH.id] == {
        "conflicts": 3,
        "factor": 1,
        "passed": 0,
        "relaxed": 0,
        "advised": 0,
        "harmed": 0,
        "cut": 0,
    }


def test_a_hard_rule_is_never_put_in_doubt() -> None:
    book, rule = _book(), Rule("r", high={"mem": 40.0}, hard=True)
    for _ in range(50):
        book.learn(["r"], "r", unsafe=False)

    assert _tests(book, rule) == 0
    assert _forbidden(book, rule, "r", mem=40.1)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([HIGH, HIGH], "stands twice"),
        ([Rule("r", low={"nope": 1.0})], '"nope" is not one of'),
        ([Rule("r", low={"mem": 5.0}, high={"mem": 4.0})], 'low of "mem" lies above'),
        ([Rule("r", high={"jit": 1.0})], '"jit" has choices'),
        ([Rule("r", among={"mem": [1.0]})], '"mem" is a number'),
    ],
)
def test_a_rule_that_does_not_fit_is_refused_by_name(rules: list[Rule], words: str) -> None:
    with pytest.raises(OptimizerError, match=words):
        _book().check(rules)
