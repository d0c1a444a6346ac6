"""Peers speak the four verbs through their adapters, over JSON lines, under the simulator."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks import data
from benchmarks.peers import environment
from benchmarks.peers.driver import PEERS
from benchmarks.peers.optimizer import PeerError, PeerOptimizer, PeerProcess
from optimizers.protocol import JobEnd
from optimizers.simulate import Ended, Trace, simulate
from tunewright.space import Categorical, SearchSpace

FAST = [peer for peer in PEERS if peer not in ("syne_tune_mobster", "syne_tune_hypertune", "smac_hyperband")]
needs_peers = pytest.mark.skipif(
    not environment.exists(), reason="the peers' environment is missing: python -m benchmarks.hypertune makes it"
)


def _run(peer: str, jobs: int, seed: int = 0) -> Trace:
    table = data.load("xgboost_breast_cancer")
    with PeerProcess() as process:
        return simulate(
            PeerOptimizer(table.problem(seed=seed), process, peer, workers=4), table, workers=4, max_jobs=jobs
        )


@needs_peers
@pytest.mark.slow
@pytest.mark.parametrize("peer", FAST)
def test_a_peer_plays_a_study_and_repeats_it(peer: str) -> None:
    trace = _run(peer, jobs=40)

    assert len(trace.jobs) == 40
    assert trace.reports
    assert [(job.config, job.end) for job in trace.jobs] == [(job.config, job.end) for job in _run(peer, 40).jobs]


@needs_peers
@pytest.mark.slow
@pytest.mark.parametrize("peer", ["syne_tune_mobster", "syne_tune_hypertune", "smac_hyperband"])
def test_a_slow_peer_plays_as_well(peer: str) -> None:
    trace = _run(peer, jobs=12)

    assert len(trace.jobs) == 12
    assert trace.reports


@needs_peers
@pytest.mark.slow
@pytest.mark.parametrize("peer", ["syne_tune_asha", "syne_tune_bohb"])
def test_workers_that_are_free_get_no_trial_that_still_runs(peer: str) -> None:
    """With a grid used up they are asked for after every report, also after a job's last and before its end."""
    table = data.load("xgboost_breast_cancer")
    one = table.space.default()
    free = ("learning_rate", "max_depth")
    space = SearchSpace([p if p.name in free else Categorical(p.name, [one[p.name]]) for p in table.space.parameters])
    problem = replace(table.problem(seed=0), space=space)
    with PeerProcess() as process:
        trace = simulate(PeerOptimizer(problem, process, peer, workers=64), table, workers=64, max_jobs=1_000)

    assert any(job.start > 0 for job in trace.jobs)


@needs_peers
def test_a_process_that_died_can_be_ended() -> None:
    process = PeerProcess()
    process._process.kill()
    process._process.wait()
    with pytest.raises(PeerError, match="ended with"):
        process.ask({"verb": "next"})

    process.close()


@needs_peers
@pytest.mark.slow
def test_a_promotion_continues_where_the_trial_was() -> None:
    trace = _run("syne_tune_asha", jobs=60)

    promoted = [job for job in trace.jobs if job.start > 0]
    assert promoted
    for job in promoted:
        assert job.start == max(other.end for other in trace.jobs[: job.id] if other.trial == job.trial)


@needs_peers
@pytest.mark.slow
def test_a_pruned_trial_stops_and_never_comes_back() -> None:
    trace = _run("optuna_tpe_hyperband", jobs=60)

    ends = [event.entry for event in trace.events if isinstance(event.entry, Ended)]
    assert any(ended.end is JobEnd.CANCELLED for ended in ends)
    assert len({job.trial for job in trace.jobs}) == len(trace.jobs)


@needs_peers
def test_what_goes_wrong_in_a_peer_comes_back_as_an_error() -> None:
    with PeerProcess() as process:
        with pytest.raises(PeerError, match='"next" before "start"'):
            process.ask({"verb": "next"})
        with pytest.raises(PeerError, match="missing 6 required"):
            process.ask({"verb": "start", "peer": "nobody", "study": json.loads("{}")})


def test_a_failed_installation_says_how_to_do_without(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(environment, "ENVIRONMENT", tmp_path / "venv")
    monkeypatch.setattr(environment, "READY", tmp_path / "venv" / "ready")
    monkeypatch.setattr(environment, "PYTHON", "/bin/false")
    monkeypatch.setattr(environment.venv, "create", lambda *_, **__: None)

    with pytest.raises(environment.PeersMissingError, match="--peers none"):
        environment.ensure()

    assert not environment.exists()
