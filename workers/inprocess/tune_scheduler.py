"""The scheduler for Ray Tune that carries out what `TunewrightSearch` decides."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from optimizers.errors import OptimizerError
from workers.inprocess.tune_search import TunewrightSearch


class TunewrightScheduler(TrialScheduler):
    """Pauses a trial at the end of its leg, lets it go on when it is promoted, and stops it when it never will be.

    It keeps nothing itself: all is in the search, which it finds through Tune. A paused trial goes on from the last
    checkpoint that it reported; one that reported none begins anew, and is not judged twice for the same.

    Raises:
        OptimizerError: as the first trial is added, where the search algorithm is another or decides no resources.
    """

    # A result must be judged before the next is trained for.
    _supports_buffered_results = False

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        _search(tune_controller)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """The search is told by Tune, once no other attempt follows."""

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        search = _search(tune_controller)
        search.scheduled = True
        return search.judge(trial.trial_id, result)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """As `on_trial_error`."""

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """As `on_trial_error`."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        search = _search(tune_controller)
        live: list[Trial] = list(tune_controller.get_live_trials())
        pending = next((trial for trial in live if trial.status == Trial.PENDING), None)
        if pending is not None:
            return pending
        paused = {trial.trial_id: trial for trial in live if trial.status == Trial.PAUSED and not trial.is_saving}
        wanted = search.waiting()
        if wanted is not None and wanted in paused:
            search.go_on(wanted)
            return paused[wanted]
        if search.over:
            for trial in paused.values():
                tune_controller.stop_trial(trial)
        return None

    def debug_string(self) -> str:
        return "Using Tunewright's decisions."


def _search(tune_controller: Any) -> TunewrightSearch:
    found = tune_controller.search_alg
    while found is not None and not isinstance(found, TunewrightSearch):
        found = getattr(found, "searcher", None)
    if found is None:
        raise OptimizerError(
            "search_alg: TunewrightScheduler carries out what TunewrightSearch decides; give "
            "search_alg=TunewrightSearch(max_resource=...)"
        )
    if not found.by_resource:
        raise OptimizerError(
            "search_alg: without max_resource TunewrightSearch needs no scheduler; give one of the two"
        )
    return found
