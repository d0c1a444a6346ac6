"""The search over settings that take a restart."""

from __future__ import annotations

from optimizers.onlinetune.restarts import next_trial
from optimizers.onlinetune.rules import Rule, RuleBook, about
from tunewright.space import Categorical, Config, Int, SearchSpace

SPACE = SearchSpace([Int("pool", 0, 100), Categorical("pages", ["off", "try"])])
START: Config = {"pool": 50, "pages": "off"}
BOOK = RuleBook(SPACE, START)


def nothing(_: Config) -> None:
    return None


def all_rejected(space: SearchSpace, standing: Config) -> list[Config]:
    """Everything that is tried around settings that stay the best."""
    rejected: list[Config] = []
    while (config := next_trial(space, standing, None, rejected, RuleBook(space, standing), [], nothing)) is not None:
        rejected.append(config)
    return rejected


def test_each_knob_is_moved_by_ever_smaller_steps_and_then_it_is_over() -> None:
    tried = all_rejected(SPACE, START)

    assert [config["pool"] for config in tried] == [75, 25, 50, 62, 38, 56, 44]
    assert [config["pages"] for config in tried].count("try") == 1


def test_what_helped_is_done_once_more() -> None:
    config = next_trial(SPACE, {"pool": 70, "pages": "off"}, START, [], BOOK, [], nothing)

    assert config == {"pool": 90, "pages": "off"}


def test_what_is_forbidden_or_beyond_the_range_is_passed_over() -> None:
    standing: Config = {"pool": 100, "pages": "off"}

    little = lambda config: "too little" if float(config["pool"]) < 80 else None  # noqa: E731
    config = next_trial(SPACE, standing, None, [], BOOK, [], little)

    assert config == {"pool": 100, "pages": "try"}


def test_a_knob_of_few_values_takes_whole_steps() -> None:
    space = SearchSpace([Int("workers", 1, 3)])

    assert [config["workers"] for config in all_rejected(space, {"workers": 2})] == [3, 1]


def test_what_rules_advise_comes_first_and_what_they_forbid_never() -> None:
    more = Rule("more", low={"pool": 70.0}, high={"pool": 90.0})
    rejected: list[Config] = []
    while (config := next_trial(SPACE, START, None, rejected, BOOK, [more], nothing)) is not None:
        rejected.append(config)

    assert rejected[0] == {"pool": 80, "pages": "off"}
    assert all(50 <= float(config["pool"]) <= 90 for config in rejected), "never further out than what stood at first"


def test_rules_are_cut_down_to_the_knobs_that_are_asked_about() -> None:
    both = Rule("both", low={"pool": 1.0, "cost": 2.0}, among={"pages": ["off"]}, text="why")

    assert about([both, Rule("other", high={"cost": 1.0})], ["pool"]) == [Rule("both", low={"pool": 1.0}, text="why")]
