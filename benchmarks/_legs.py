"""An optimizer's jobs with real training in this process, one leg after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from optimizers.protocol import Job, JobEnd, Optimizer, Report


def run_legs(
    optimizer: Optimizer, step: Callable[[Job, int], Mapping[str, float] | None], go_on: Callable[[], bool]
) -> None:
    """Do what the optimizer asks for, until it or the budget ends; a leg that has begun is finished.

    Args:
        step: trains a job's trial for one more unit, up to a resource; what was measured then, None where it failed.
        go_on: whether another leg may begin.
    """
    while go_on() and (job := optimizer.next_job()) is not None:
        end = JobEnd.COMPLETED
        for resource in range(int(job.start) + 1, int(job.end) + 1):
            metrics = step(job, resource)
            if metrics is None:
                end = JobEnd.FAILED
                break
            optimizer.observe(Report(job.id, job.trial, resource, metrics))
        optimizer.finish(job.id, end)
