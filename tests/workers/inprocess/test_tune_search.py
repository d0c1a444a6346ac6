"""The search algorithm and scheduler for Ray Tune. Needs the packages of ray[tune]."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

tune = pytest.importorskip("ray.tune", reason="ray[tune] is not installed", exc_type=ImportError)

import ray  # noqa: E402
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator  # noqa: E402

from optimizers.errors import OptimizerError  # noqa: E402
from tunewright import Categorical, Float, SearchSpace  # noqa: E402
from tunewright.errors import SpaceError  # noqa: E402
from tunewright.integrations.ray_tune import TunewrightScheduler, TunewrightSearch  # noqa: E402
from workers.inprocess.tune_search import WHOLE_TRIALS  # noqa: E402
from workers.inprocess.tune_space import TuneSpace  # noqa: E402

STEPS = 9
SPACE = {"x": tune.uniform(0, 1), "inner": {"kind": tune.choice(["good", None])}, "constant": 3}
QUICK = {"initial_trials": 3}


def begun(name: str | None = None, samples: int = 6, **fields: Any) -> TunewrightSearch:
    search = TunewrightSearch(name, seed=1, **fields)
    assert search.set_search_properties("loss", "min", SPACE, num_samples=samples)
    return search


def leg(search: TunewrightSearch, trial: str, x: float, start: int = 0) -> tuple[int, str]:
    """Report until the search says something else than to continue; the step, and what it said."""
    for step in range(start + 1, STEPS + 1):
        said = search.judge(trial, {"training_iteration": step, "loss": x + 1 / step})
        if said != "CONTINUE":
            return step, said
    raise AssertionError("nothing was said up to the end")


class TestSpace:
    @pytest.mark.parametrize(
        ("domain", "fits"),
        [
            (tune.uniform(-1, 1), lambda v: -1 <= v <= 1),
            (tune.loguniform(1e-4, 1), lambda v: 1e-4 <= v <= 1),
            (tune.quniform(0.2, 1.0, 0.2), lambda v: any(abs(v - 0.2 * n) < 1e-9 for n in range(1, 6))),
            (tune.qloguniform(0.1, 10, 0.1), lambda v: abs(v * 10 - round(v * 10)) < 1e-9 and 0.1 <= v <= 10),
            (tune.randint(2, 5), lambda v: v in (2, 3, 4)),
            (tune.randint(2, 3), lambda v: v == 2),
            (tune.lograndint(1, 100), lambda v: v in range(1, 100)),
            (tune.qrandint(5, 20, 5), lambda v: v in (5, 10, 15, 20)),
            (tune.qlograndint(5, 20, 5), lambda v: v in (5, 10, 15, 20)),
            (tune.choice([None, "a", (1, 2)]), lambda v: v in (None, "a", (1, 2))),
        ],
    )
    def test_values_are_those_that_tune_draws(self, domain: Any, fits: Callable[[Any], bool]) -> None:
        found = TuneSpace.of({"p": domain})

        values = [found.params({"p": found.space["p"].decode(u / 50)})["p"] for u in range(51)]

        assert all(map(fits, values)), values
        assert fits(domain.sample())

    def test_nested_parameters_stay_nested(self) -> None:
        found = TuneSpace.of({"a": {"b": tune.uniform(0, 1)}, "c": 1})

        assert found.params({"a/b": 0.5}) == {"a": {"b": 0.5}}

    @pytest.mark.parametrize(
        ("space", "told"),
        [
            ({"x": tune.randn()}, 'parameter "x".*tune.uniform'),
            ({"x": tune.sample_from(lambda _: 1)}, 'parameter "x".*no range'),
            ({"a": {"x": tune.grid_search([1, 2])}}, 'parameter "a/x": grid_search.*tune.choice'),
            ({"x": 1}, "nothing to search"),
        ],
    )
    def test_what_cannot_be_searched_is_named(self, space: Any, told: str) -> None:
        with pytest.raises(SpaceError, match=told):
            TuneSpace.of(space)


class TestSearch:
    @pytest.mark.parametrize("name", WHOLE_TRIALS)
    def test_whole_trials_are_proposed_and_learned_from(self, name: str) -> None:
        # Categories and numbers on a grid, of which every optimizer knows what to do.
        search = TunewrightSearch(name, QUICK if name in ("bayes", "tpe") else None, seed=1)
        space = {"n": tune.randint(1, 9), "kind": tune.choice(["a", "b"])}
        assert search.set_search_properties("loss", "min", space, num_samples=10)

        for number in range(10):
            config = search.suggest(f"t{number}")
            search.on_trial_complete(f"t{number}", {"loss": float(config["n"])})

        assert search.suggest("more") == Searcher.FINISHED

    def test_a_failed_trial_and_one_without_a_number_end(self) -> None:
        search = begun("random", 3)
        for trial in "abc":
            assert search.suggest(trial)

        search.on_trial_complete("a", error=True)
        search.on_trial_complete("b", {"loss": float("nan")})
        search.on_trial_complete("c")

        assert search.suggest("d") == Searcher.FINISHED

    def test_the_best_of_a_rung_goes_on_from_where_it_was_paused(self) -> None:
        search = begun("asha", 3, max_resource=STEPS)
        for trial in "abc":
            search.suggest(trial)

        ends = [leg(search, trial, x) for trial, x in (("a", 0.1), ("b", 0.2), ("c", 0.3))]

        assert ends == [(1, "PAUSE")] * 3
        assert search.waiting() == "a"
        search.go_on("a")
        assert leg(search, "a", 0.1, 1) == (STEPS, "STOP")
        assert search.over

    def test_new_trials_are_begun_while_others_wait(self) -> None:
        search = begun("asha", 4, max_resource=STEPS)
        for trial in "abc":
            search.suggest(trial)

        assert leg(search, "a", 0.1) == (1, "PAUSE")
        assert search.waiting() is None
        assert search.suggest("d")

    def test_a_trial_that_is_promoted_at_once_is_not_paused(self) -> None:
        search = begun("asha", 3, max_resource=STEPS)
        for trial in "abc":
            search.suggest(trial)
        leg(search, "a", 0.3), leg(search, "b", 0.2)

        assert leg(search, "c", 0.1) == (STEPS, "STOP")

    @pytest.mark.parametrize("name", ["asha", "hypertune"])
    def test_a_trial_that_ends_by_itself_is_not_waited_for(self, name: str) -> None:
        """By a stop criterion of Tune's, which comes before the scheduler: mostly the best ones, due for promotion."""
        search = begun(name, 30, max_resource=STEPS)
        running: list[str] = []
        ended = 0
        while True:
            while len(running) < 4 and isinstance(search.suggest(f"t{ended + len(running)}"), dict):
                running.append(f"t{ended + len(running)}")
            assert search.waiting() is None
            if not running:
                break
            trial = running.pop(0)
            search.on_trial_complete(
                trial, {"training_iteration": search._jobs[trial].end, "loss": 1 / (ended + 1), "done": True}
            )
            ended += 1

        assert ended == 30
        assert search.over

    def test_who_reports_past_the_end_of_its_next_leg_is_not_told_to_give_a_scheduler(self) -> None:
        search = begun("asha", 30, max_resource=STEPS)
        search.scheduled = True
        for number in range(6):
            trial, result = f"t{number}", {"training_iteration": 8, "loss": 1.0 - number / 10}
            assert isinstance(search.suggest(trial), dict)
            search.judge(trial, result)
            search.on_trial_result(trial, result)

    def test_who_reports_nan_is_stopped(self) -> None:
        search = begun("hypertune", max_resource=STEPS)
        search.suggest("a")

        assert search.judge("a", {"training_iteration": 1, "loss": float("nan")}) == "STOP"

    def test_no_more_run_than_may(self) -> None:
        search = begun("random")
        ConcurrencyLimiter(search, max_concurrent=2)

        assert [search.suggest(trial) is None for trial in "abc"] == [False, False, True]

    def test_a_saved_search_goes_on_as_if_nothing_had_been(self, tmp_path: Path) -> None:
        search = begun("tpe", 12, settings=QUICK)
        for number in range(6):
            search.on_trial_complete(str(number), {"loss": search.suggest(str(number))["x"]})
        search.suggest("running")
        # As Tune does it, with the generator around it.
        SearchGenerator(search).save_to_dir(str(tmp_path), session_str="one")

        other = TunewrightSearch("random")
        SearchGenerator(other).restore_from_dir(str(tmp_path))

        for found in (search, other):
            found.on_trial_complete("running", {"loss": 0.1})
        assert search.suggest("next") == other.suggest("next")

    def test_a_space_with_conditions(self) -> None:
        space = SearchSpace(Categorical("kind", ["a", "b"]), Float("x", 0, 1, when={"kind": "b"}))
        search = TunewrightSearch("random", space=space, metric="loss", mode="max", seed=0)

        configs = [search.suggest(str(n)) for n in range(20)]

        assert {frozenset(config) for config in configs} == {frozenset({"kind"}), frozenset({"kind", "x"})}
        assert not search.set_search_properties("loss", "max", SPACE), "two spaces are one too many"

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"optimizer": "hypertune"}, "max_resource and the scheduler"),
            ({"optimizer": "nobody"}, "unknown; known are"),
            ({"optimizer": "pbt", "max_resource": 9}, "PopulationBasedTraining"),
            ({"settings": {"trees": 1, "tree": 1}}, "optimizer.settings.tree: unknown"),
        ],
    )
    def test_wrong_arguments_are_named(self, fields: dict[str, Any], told: str) -> None:
        with pytest.raises(OptimizerError, match=told):
            TunewrightSearch(**fields)

    def test_what_is_missing_is_named(self) -> None:
        with pytest.raises(OptimizerError, match="param_space"):
            TunewrightSearch("random").suggest("a")
        with pytest.raises(OptimizerError, match="metric, mode: give both"):
            TunewrightSearch("random", space=SearchSpace(Float("x", 0, 1))).suggest("a")


@dataclass
class Played:
    """A trial of Tune's, as far as a scheduler looks at it; learns a step a round."""

    trial_id: str
    x: float
    status: str = "PENDING"
    is_saving: bool = False
    steps: int = 0


class Controller:
    """Tune's loop with two workers, without processes: who is asked what, and when."""

    def __init__(self, search: TunewrightSearch, samples: int) -> None:
        self.search_alg = SearchGenerator(search)
        self.trials: list[Played] = []
        self.ends: list[int] = []
        self._search, self._samples, self._scheduler = search, samples, TunewrightScheduler()
        self._finished = False

    def get_live_trials(self) -> list[Played]:
        return [trial for trial in self.trials if trial.status != "TERMINATED"]

    def stop_trial(self, trial: Played) -> None:
        result = {"training_iteration": trial.steps, "loss": trial.x + 1 / trial.steps}
        self._search.on_trial_complete(trial.trial_id, result if trial.status == "RUNNING" else None)
        trial.status = "TERMINATED"
        self.ends.append(trial.steps)

    def round(self) -> bool:
        """Whether there is more to do."""
        self._add()
        chosen: Any = self._scheduler.choose_trial_to_run(self)
        if chosen is not None:
            chosen.status = "PENDING"
        running = [trial for trial in self.trials if trial.status == "RUNNING"]
        for trial in [trial for trial in self.trials if trial.status == "PENDING"][: 2 - len(running)]:
            trial.status = "RUNNING"
        for trial in [trial for trial in self.trials if trial.status == "RUNNING"]:
            self._learn(trial)
        return not self._finished or bool(self.get_live_trials())

    def _add(self) -> None:
        if self._finished or any(trial.status == "PENDING" for trial in self.trials):
            return
        number = f"t{len(self.trials)}"
        config = self._search.suggest(number)
        if isinstance(config, dict):
            self.trials.append(Played(number, config["x"]))
        self._finished = config == Searcher.FINISHED or len(self.trials) == self._samples

    def _learn(self, trial: Played) -> None:
        trial.steps += 1
        result = {"training_iteration": trial.steps, "loss": trial.x + 1 / trial.steps}
        played: Any = trial
        decision = self._scheduler.on_trial_result(self, played, result)
        if decision == "STOP":
            self.stop_trial(trial)
        elif decision == "PAUSE":
            trial.status = "PAUSED"
        else:
            self._search.on_trial_result(trial.trial_id, result)


@pytest.mark.parametrize("name", ["asha", "hyperband", "bohb", "hypertune", "mobster", "random"])
def test_a_ladder_is_played_to_its_end(name: str) -> None:
    controller = Controller(begun(name, 12, max_resource=STEPS), 12)

    rounds = 0
    while controller.round():
        rounds += 1
        assert rounds < 1000, [(trial.status, trial.steps) for trial in controller.trials]

    assert len(controller.ends) == 12
    assert set(controller.ends) <= {1, 3, STEPS}
    assert controller.ends.count(STEPS) >= 1
    if name != "random":
        assert controller.ends.count(STEPS) < 12


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    directory = tempfile.mkdtemp(prefix="tw-tune-", dir="/tmp")
    ray.init(num_cpus=2, include_dashboard=False, _temp_dir=directory, log_to_driver=False)
    yield
    ray.shutdown()
    shutil.rmtree(directory, ignore_errors=True)


def training() -> Callable[[dict[str, Any]], None]:
    """Travels to a worker as it is: by its name it would bring this module, and all that it imports, to each."""

    def train(config: dict[str, Any]) -> None:
        """A loss that falls with the steps; goes on from its checkpoint, and leaves a trace of each step."""
        step = 0
        if checkpoint := tune.get_checkpoint():
            with checkpoint.as_directory() as directory:
                step = int(Path(directory, "step").read_text())
        while step < config["steps"]:
            step += 1
            with Path(config["trace"]).open("a") as trace:
                trace.write(json.dumps({"x": config["x"], "step": step}) + "\n")
            if config["x"] > 0.9:
                raise ValueError("cannot be trained")
            with tempfile.TemporaryDirectory() as directory:
                Path(directory, "step").write_text(str(step))
                tune.report({"loss": config["x"] + 1 / step}, checkpoint=tune.Checkpoint.from_directory(directory))

    return train


def tuner(tmp_path: Path, samples: int, steps: int = STEPS, **config: Any) -> Any:
    return tune.Tuner(
        training(),
        param_space={"x": tune.uniform(0, 1), "steps": steps, "trace": str(tmp_path / "trace")},
        tune_config=tune.TuneConfig(metric="loss", mode="min", num_samples=samples, **config),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="run", verbose=0),
    )


@pytest.mark.slow
@pytest.mark.timeout(240)
class TestRun:
    def test_a_ladder_on_a_cluster(self, cluster: None, tmp_path: Path) -> None:
        search = TunewrightSearch(max_resource=STEPS, seed=3)

        found = tuner(tmp_path, 8, search_alg=search, scheduler=TunewrightScheduler()).fit()

        lines = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
        again = [key for key, n in Counter((line["x"], line["step"]) for line in lines).items() if n > 1]
        reached = Counter(max(line["step"] for line in lines if line["x"] == x) for x in {line["x"] for line in lines})
        assert len(found) == 8
        assert again == [], "a promoted trial goes on from its checkpoint"
        assert set(reached) <= {1, 3, 9}
        assert reached[9] >= 1
        assert reached[9] < 8
        assert found.get_best_result().metrics["training_iteration"] == STEPS
        assert found.num_errors == sum(x > 0.9 for x in {line["x"] for line in lines})

    def test_whole_trials_without_a_scheduler(self, cluster: None, tmp_path: Path) -> None:
        search = TunewrightSearch(seed=3, settings=QUICK)

        found = tuner(tmp_path, 3, 2, search_alg=search, max_concurrent_trials=2).fit()

        assert len(found) == 3
        assert all(result.metrics["training_iteration"] == 2 for result in found if not result.error)

    def test_a_ladder_without_its_scheduler_is_refused(self, cluster: None, tmp_path: Path) -> None:
        with pytest.raises(Exception, match="give scheduler=TunewrightScheduler"):
            tuner(tmp_path, 3, search_alg=TunewrightSearch("asha", max_resource=STEPS, seed=3)).fit()

    def test_the_scheduler_without_its_search_is_refused(self, cluster: None, tmp_path: Path) -> None:
        with pytest.raises(Exception, match="give search_alg=TunewrightSearch"):
            tuner(tmp_path, 3, scheduler=TunewrightScheduler()).fit()
