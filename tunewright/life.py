"""The client's methods about what people do to studies and trials beside steering them.

`LifeCalls` belongs to `Client`, `AsyncLifeCalls` to `AsyncClient`.
"""

from __future__ import annotations

import uuid
from typing import Any, TypeVar

from tunewright import _requests as requests
from tunewright._requests import Call
from tunewright.views import QueuedConfig, Study, TrialDetail

T = TypeVar("T")


class LifeCalls:
    """What people call studies and trials, and what they do with them again."""

    def change(self, study_id: str, *, revision: int | None = None, **changes: Any) -> Study:
        """Change a study's `name`, `tags`, `notes` or `priority`, in whatever state it is.

        Args:
            revision: `Study.revision` as it was when the changes were thought of; None changes it in any case.
            changes: new values; `tags` are all that the study has from now on.
        Raises:
            ApiError: a value does not fit; with status 409, somebody else has changed the study since.
        """
        return self._send(requests.change(study_id, revision, changes))

    def note_trial(self, trial_id: str, notes: str) -> TrialDetail:
        """Replace what is noted about a trial; an empty text removes it."""
        return self._send(requests.note_trial(trial_id, notes))

    def retry(self, study_id: str, trial: int, idempotency_key: str | None = None) -> QueuedConfig:
        """Try a failed trial again: its configuration is enqueued once more.

        Args:
            trial: its number.
            idempotency_key: as for `enqueue`.
        Raises:
            ApiError: the trial has not failed, or the study is over or has no trial left.
        """
        return self._send(requests.retry(study_id, trial, idempotency_key or uuid.uuid4().hex))

    def clone(self, study_id: str, idempotency_key: str | None = None, **changes: Any) -> Study:
        """Submit a study like another one, which may be in any state; its notes are not taken along.

        Args:
            changes: fields of the study to replace, such as `seed=1` or `budget={"trials": 50}`.
        Raises:
            ApiError: as `submit`.
        """
        return self._send(requests.clone(study_id, changes, idempotency_key or uuid.uuid4().hex))

    def _send(self, call: Call[T], retries: int | None = 0) -> T:
        raise NotImplementedError


class AsyncLifeCalls:
    """`LifeCalls`, to be awaited."""

    async def change(self, study_id: str, *, revision: int | None = None, **changes: Any) -> Study:
        """As `Client.change`."""
        return await self._send(requests.change(study_id, revision, changes))

    async def note_trial(self, trial_id: str, notes: str) -> TrialDetail:
        """As `Client.note_trial`."""
        return await self._send(requests.note_trial(trial_id, notes))

    async def retry(self, study_id: str, trial: int, idempotency_key: str | None = None) -> QueuedConfig:
        """As `Client.retry`."""
        return await self._send(requests.retry(study_id, trial, idempotency_key or uuid.uuid4().hex))

    async def clone(self, study_id: str, idempotency_key: str | None = None, **changes: Any) -> Study:
        """As `Client.clone`."""
        return await self._send(requests.clone(study_id, changes, idempotency_key or uuid.uuid4().hex))

    async def _send(self, call: Call[T], retries: int | None = 0) -> T:
        raise NotImplementedError
