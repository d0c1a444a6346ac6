"""A hyperparameter search in scikit-learn's own form, decided by the optimizers of Tunewright."""

# Names are those of scikit-learn.
# ruff: noqa: N803

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

from optimizers.protocol import Job, JobEnd, Optimizer, Problem, Report
from optimizers.registry import create
from tunewright.space import SearchSpace
from tunewright.study import Fidelity, Objective
from workers.inprocess.distributions import Distributions
from workers.inprocess.subsamples import Subsamples

_SAMPLES = "n_samples"
_Evaluate = Callable[..., Mapping[str, Any]]


class HyperTuneSearchCV(BaseSearchCV):  # type: ignore[misc]
    """A search over an estimator's parameters that trains poor candidates little and promising ones long.

    Candidates are compared by cross-validation, first on a small resource and then, the promising ones, on more of
    it: on more samples, or with a larger value of a parameter such as `n_estimators`. Used as scikit-learn's
    `RandomizedSearchCV`, whose results it has as well: `best_estimator_`, `best_params_`, `best_score_`,
    `best_index_`, `cv_results_`, `predict`, `score` and so on.

    Args:
        estimator: the estimator to tune, or a pipeline.
        param_distributions: a `SearchSpace`, or a dict as in `Distributions.of`.
        n_iter: candidates to start.
        resource: `n_samples`, or the name of one of the estimator's parameters with whole numbers.
        min_resources: of the first comparison; "auto" is 1, and of samples enough for two of each class in each fold.
        max_resources: of a whole training; "auto" takes all samples, and is refused for a parameter.
        optimizer: a name from `tunewright optimizers`. Those that train every candidate whole (`bayes`, `tpe`,
            `random` and others) use `max_resources` alone; `pbt` needs checkpoints, and is refused.
        optimizer_settings: its settings.
        parallel: candidates that are decided and evaluated together; with their folds they are what `n_jobs` shares.
        scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score: as in `RandomizedSearchCV`.
            With several metrics `refit` names the one to improve.
        random_state: makes the search repeatable.

    Attributes:
        cv_results_: one row for each evaluation, so that a candidate has one for each resource: `trial` numbers the
            candidates, `n_resources` is the resource. The best is found among the rows of the largest.
        failed_params_: candidates of which no fold could be fitted; the optimizer learned that they are bad.
        min_resources_, max_resources_: as they were used.

    Raises (by `fit`):
        ValueError: an argument does not fit; names it. Or no candidate could be fitted.
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 30,
        resource: str = _SAMPLES,
        min_resources: int | str = "auto",
        max_resources: int | str = "auto",
        optimizer: str = "hypertune",
        optimizer_settings: Mapping[str, Any] | None = None,
        parallel: int = 1,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_distributions = param_distributions
        self.n_iter = n_iter
        self.resource = resource
        self.min_resources = min_resources
        self.max_resources = max_resources
        self.optimizer = optimizer
        self.optimizer_settings = optimizer_settings
        self.parallel = parallel
        self.random_state = random_state

    def _check_input_parameters(self, X: Any, y: Any, split_params: Mapping[str, Any]) -> None:
        for name in ("n_iter", "parallel"):
            _whole(name, getattr(self, name))
        samples = X.shape[0] if hasattr(X, "shape") else len(X)
        folds = self._checked_cv_orig.get_n_splits(X, y, **split_params)
        labels = is_classifier(self.estimator) and y is not None and type_of_target(y) in ("binary", "multiclass")
        self.min_resources_, self.max_resources_ = self._resources(
            samples, 2 * folds * (len(np.unique(y)) if labels else 1)
        )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        distributions = Distributions.of(self.param_distributions)
        # `_run_search`, which scikit-learn calls next, has no other way to what depends on the samples.
        self._search = _Search(
            self._optimizer(distributions.space, seed),
            distributions,
            None if self.resource == _SAMPLES else self.resource,
            samples,
            Subsamples(self._checked_cv_orig, labels, seed),
        )

    def _resources(self, samples: int, enough: int) -> tuple[int, int]:
        """Smallest and largest resource."""
        most, least = self.max_resources, self.min_resources
        if self.resource == _SAMPLES:
            most = samples if most == "auto" else min(_whole("max_resources", most), samples)
        elif self.resource not in self.estimator.get_params():
            raise ValueError(f"resource: {type(self.estimator).__name__} has no parameter {self.resource!r}")
        elif most == "auto":
            raise ValueError(f"max_resources: how large a whole {self.resource!r} is cannot be guessed; give a number")
        else:
            most = _whole("max_resources", most)
        if least == "auto":
            return min(enough if self.resource == _SAMPLES else 1, most), most
        least = _whole("min_resources", least)
        if least > most:
            raise ValueError(f"min_resources ({least}) must be at most max_resources, which is {most} here")
        return least, most

    def _optimizer(self, space: SearchSpace, seed: int) -> Optimizer:
        if self.resource in space.names:
            raise ValueError(
                f"param_distributions: {self.resource!r} is the resource; search others, or change resource"
            )
        problem = Problem(
            space,
            [Objective(metric="score", direction="maximize")],
            Fidelity(name=self.resource, min=self.min_resources_, max=self.max_resources_),
            max_trials=self.n_iter,
            seed=seed,
        )
        optimizer = create(self.optimizer, self.optimizer_settings or {}, problem)
        if optimizer.branches:
            raise ValueError(f"optimizer: {self.optimizer!r} copies trained models between trials; choose another")
        return optimizer

    def _run_search(self, evaluate_candidates: _Evaluate) -> None:
        search: _Search = self.__dict__.pop("_search")
        self.failed_params_ = search.run(evaluate_candidates, self.parallel, self._metric)

    def _metric(self, results: Mapping[str, Any]) -> str:
        """The column to improve."""
        if "mean_test_score" in results:
            return "mean_test_score"
        if isinstance(self.refit, str) and f"mean_test_{self.refit}" in results:
            return f"mean_test_{self.refit}"
        known = ", ".join(sorted(n.removeprefix("mean_test_") for n in results if n.startswith("mean_test_")))
        raise ValueError(f"refit: with several metrics it names the one to improve, not {self.refit!r}; one of {known}")

    @staticmethod
    def _select_best_index(refit: Any, refit_metric: str, results: Mapping[str, Any]) -> int:
        """The best of those measured at the largest resource, unless `refit` is a callable that chooses."""
        if callable(refit):
            return int(BaseSearchCV._select_best_index(refit, refit_metric, results))
        scores = np.asarray(results[f"mean_test_{refit_metric}"])
        resources = np.where(np.isnan(scores), -1, np.asarray(results["n_resources"]))
        if resources.max() < 0:
            raise ValueError("no candidate has a score; set error_score='raise' to see why")
        return int(np.argmax(np.where(resources == resources.max(), scores, -np.inf)))


class _Search:
    """The loop of one `fit`: ask for jobs, evaluate them, tell the optimizer.

    Args:
        parameter: that is the resource; None: the samples are.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        distributions: Distributions,
        parameter: str | None,
        samples: int,
        splitter: Subsamples,
    ) -> None:
        self._optimizer = optimizer
        self._distributions = distributions
        self._parameter = parameter
        self._samples = samples
        self._splitter = splitter
        self._failed: list[dict[str, Any]] = []
        self._failure: ValueError | None = None
        self._evaluated = 0

    def run(
        self, evaluate: _Evaluate, parallel: int, metric: Callable[[Mapping[str, Any]], str]
    ) -> list[dict[str, Any]]:
        """Search until the optimizer has nothing left to start.

        Returns:
            Parameters of candidates that could not be fitted.
        Raises:
            ValueError: no candidate could be.
        """
        while jobs := self._jobs(parallel):
            for end, group in groupby(sorted(jobs, key=lambda job: job.end), key=lambda job: job.end):
                self._evaluate(list(group), int(end), evaluate, metric)
        if self._failure is not None and not self._evaluated:
            raise self._failure
        return self._failed

    def _jobs(self, most: int) -> list[Job]:
        jobs: list[Job] = []
        while len(jobs) < most and (job := self._optimizer.next_job()) is not None:
            jobs.append(job)
        return jobs

    def _evaluate(
        self, jobs: Sequence[Job], resource: int, evaluate: _Evaluate, metric: Callable[[Mapping[str, Any]], str]
    ) -> None:
        candidates = [self._params(job, resource) for job in jobs]
        share = 1.0 if self._parameter else resource / self._samples
        more = {"trial": [job.trial for job in jobs], "n_resources": [resource] * len(jobs)}
        try:
            results = evaluate(candidates, self._splitter.cut_to(share), more_results=more)
        except ValueError as error:
            if not _all_failed(error):
                raise
            self._failure = self._failure or error
            self._failed += candidates
            warnings.warn(
                f"no fold could be fitted with {candidates}; they count as bad", FitFailedWarning, stacklevel=2
            )
            scores = [np.nan] * len(jobs)
        else:
            self._evaluated += len(jobs)
            scores = np.asarray(results[metric(results)])[-len(jobs) :].tolist()
        for job, score in zip(jobs, scores, strict=True):
            self._tell(job, score)

    def _params(self, job: Job, resource: int) -> dict[str, Any]:
        params = self._distributions.params(job.config)
        return {**params, self._parameter: resource} if self._parameter else params

    def _tell(self, job: Job, score: float) -> None:
        if not np.isfinite(score):
            self._optimizer.finish(job.id, JobEnd.FAILED)
            return
        self._optimizer.observe(Report(job.id, job.trial, job.end, {"score": score}))
        self._optimizer.finish(job.id, JobEnd.COMPLETED)


def _all_failed(error: ValueError) -> bool:
    # scikit-learn gives up when nothing in one batch could be fitted; a batch here may be a single bad candidate. It
    # has no class of its own for that.
    return str(error).lstrip().startswith("All the ") and " fits failed" in str(error)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name}: must be a whole number from 1, not {value!r}")
    return int(value)
