"""Where a study's trials stand, counted as it goes."""

from __future__ import annotations

from collections import Counter

from tunewright.study import StudyState, TrialState


class Standing:
    """The state of every trial; a trial's first state must be told before that of the next trial."""

    def __init__(self) -> None:
        self._states: list[TrialState] = []
        # Kept beside the states: counting them anew for each batch would cost more the longer the study runs.
        self._counted: Counter[TrialState] = Counter()

    def note(self, trial: int, state: TrialState) -> None:
        """A trial is in this state now."""
        if trial == len(self._states):
            self._states.append(state)
        else:
            self._counted[self._states[trial]] -= 1
            self._states[trial] = state
        self._counted[state] += 1

    @property
    def started(self) -> int:
        """Number of trials."""
        return len(self._states)

    @property
    def resting(self) -> int:
        """Trials that do not run now."""
        return len(self._states) - self._counted[TrialState.RUNNING]

    @property
    def all_failed(self) -> bool:
        """Whether there are trials, and none that did not fail."""
        return bool(self._states) and self._counted[TrialState.FAILED] == len(self._states)

    def counts(self, state: StudyState) -> dict[TrialState, int]:
        """Number of trials in each state, of a study in `state`; states without trials are left out."""
        counts = Counter(self._counted)
        if state.final:
            # Nobody will promote them any more.
            counts[TrialState.STOPPED] += counts.pop(TrialState.WAITING, 0)
        return {trial_state: count for trial_state, count in counts.items() if count}
