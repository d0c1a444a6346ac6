"""Ask and tell: pairs per second of clients that train elsewhere, beside Optuna's on its RDB storage.

    python -m benchmarks.ask_tell [--part pairs|list] [--peers all|none] [--quick] [--json FILE]

A pair is one configuration had and one result told, of 20 parameters. A client is a process with one sequential loop.
Ours goes through the Python client, REST and the runner, and tells and asks in one round trip, without batches;
Optuna opens the database itself, as its users do. Both stores are on this machine's disk and wait for it. Studies of
many trials are filled beforehand, with rows such as either would have written. Each measurement is told as it ends.

ask_tell_vs_optuna_*    the worst ratio over clients, optimizers and sizes
pairs_per_second_*      ours: the least over clients and optimizers at each size
list_page_p95_ms        a page of the trial list of the largest study
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._clients import OURS, Clients
from benchmarks._harness import Cell, Result, arguments, percentile, publish
from benchmarks._service import Service, running_service, wait
from benchmarks.peers import environment
from benchmarks.suggest import SPACE
from db_knobs.lab.postgres import PrivatePostgres
from optimizers.protocol import Job, JobEnd, Report
from service.store import leases
from service.store.engine import open_engine
from service.store.journal import SqlJournal
from tunewright.study import StudyState, TrialState
from workers.journal import Batch, Fact, JobEnded, JobStarted, Reported, Status

NAME = "ask_tell"
STORES = ("sqlite", "postgresql")
OPTIMIZERS = ("random", "tpe")
FILL_GROUP = 500
PAGES = 200


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        clients: numbers of them, for each size of study.
        seconds: per measurement.
        listed: trials of the study whose list is read.
        peers: whether Optuna is measured too.
    """

    clients: dict[int, Sequence[int]]
    seconds: float
    listed: int
    stores: Sequence[str] = STORES
    peers: bool = True


QUICK = Scale({100: (8,), 1_000: (1,)}, seconds=1.5, listed=2_000)
WHOLE = Scale({100: (1, 8, 32), 10_000: (1, 8, 32)}, seconds=5.0, listed=200_000)


def main(argv: Sequence[str] | None = None, scale: Scale | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--part", choices=("pairs", "list"))
    parser.add_argument("--peers", choices=("all", "none"), default="all")
    own, rest = parser.parse_known_args(argv)
    asked = arguments(NAME, __doc__ or "", rest)
    scale = scale or (QUICK if asked.quick else WHOLE)
    scale = replace(scale, peers=scale.peers and own.peers == "all")
    options = (f" --part {own.part}" if own.part else "") + (" --peers none" if own.peers == "none" else "")
    result = Result(NAME, asked.command + options)
    if own.part != "list":
        _pairs(scale, result)
    if own.part != "pairs":
        for store in scale.stores:
            with _site(store) as site:
                study = filled_study(site, "random", scale.listed, running=False)
                result.keep(_list_pages(site, study, scale.listed))
    _headline(result, scale)
    publish(result, asked.json)


def _pairs(scale: Scale, result: Result) -> None:
    """The whole grid on each store."""
    most = max(max(counts) for counts in scale.clients.values())
    with ExitStack() as stack:
        ours = stack.enter_context(Clients(OURS, most))
        peers: Clients | None = None
        if scale.peers:
            environment.ensure()
            peers = stack.enter_context(Clients((str(environment.PYTHON), "-m", "benchmarks.peers.ask_tell"), most))
        for store in scale.stores:
            with _site(store) as site:
                measure(site, ours, peers, scale, result)


@dataclass(frozen=True)
class Site:
    """A service, its store, and the store that Optuna has beside it."""

    store: str
    service: Service
    url: str
    peer_url: str


@contextmanager
def _site(store: str) -> Iterator[Site]:
    with (
        databases(store) as (url, peer_url),
        running_service(environment={"TUNEWRIGHT_DATABASE_URL": url}) as service,
    ):
        yield Site(store, service, url, peer_url)


@contextmanager
def databases(store: str) -> Iterator[tuple[str, str]]:
    """Two empty databases of a kind, ours and the peer's, on a server of their own where one is needed."""
    if store == "sqlite":
        with tempfile.TemporaryDirectory(prefix="tw-ask-tell-") as name:
            yield f"sqlite:///{Path(name) / 'ours.db'}", f"sqlite:///{Path(name) / 'theirs.db'}"
        return
    with PrivatePostgres(durable=True) as server:
        yield server.url(server.create_database()), server.url(server.create_database())


def measure(site: Site, ours: Clients, peers: Clients | None, scale: Scale, result: Result) -> None:
    """The whole grid on one store."""
    for size, counts in scale.clients.items():
        for optimizer in OPTIMIZERS:
            for clients in counts:
                study = filled_study(site, optimizer, size)
                rate, _ = ours.pairs_per_second(clients, {"url": site.service.url, "study": study}, scale.seconds)
                site.service.cancel(study)
                theirs, errors = (None, None) if peers is None else _peer(site, peers, optimizer, size, clients, scale)
                row: dict[str, Cell] = {
                    "store": site.store,
                    "optimizer": optimizer,
                    "trials": size,
                    "clients": clients,
                    "pairs/s": round(rate, 1),
                    "optuna pairs/s": None if theirs is None else round(theirs, 2),
                    "ratio": None if not theirs else round(rate / theirs, 1),
                    "optuna errors": errors,
                    "load_1m": round(os.getloadavg()[0], 1),
                }
                result.keep(row)


def filled_study(site: Site, optimizer: str, trials: int, *, running: bool = True) -> str:
    """A study that has so many finished trials behind it: one that runs, or one that is paused and only read."""
    study = site.service.submit(
        {
            "name": f"{optimizer} after {trials}",
            "workload": "external",
            "space": SPACE.model_dump(mode="json"),
            "objectives": [{"metric": "loss"}],
            "optimizer": optimizer,
            "budget": {"trials": 1_000_000},
            "parallel": 100,
        }
    )
    site.service.client.post(f"/v1/studies/{study}/pause").raise_for_status()
    wait(lambda: site.service.study(study)["state"] == "paused", 60, "the study to pause")
    _fill(site.url, study, trials)
    if running:
        site.service.client.post(f"/v1/studies/{study}/resume").raise_for_status()
        wait(lambda: site.service.study(study)["state"] == "running", 120, "the study to go on")
    return study


def _fill(url: str, study: str, trials: int) -> None:
    """Write what asking and telling would have written, with a study's lease."""
    engine = open_engine(url)
    epoch = leases.acquire(engine, leases.study_lease(study), NAME, seize=True)
    engine.dispose()
    if epoch is None:
        raise RuntimeError(f"the lease of study {study} cannot be had")
    journal, rng = SqlJournal(url, study, epoch), np.random.default_rng(trials)
    number = journal.load().batch
    for begin in range(0, trials, FILL_GROUP):
        end = min(begin + FILL_GROUP, trials)
        facts = [fact for trial in range(begin, end) for fact in _trial(trial, rng)]
        number += 1
        counts = {TrialState.COMPLETED: end}
        journal.commit(Batch(number, time.time(), facts, [], Status(StudyState.PAUSED, 1.0, counts=counts)))
    journal.release()


def _trial(number: int, rng: np.random.Generator) -> Sequence[Fact]:
    job = Job(number, number, SPACE.decode(rng.random(SPACE.dimension)), 0.0, 1.0)
    return [
        JobStarted(job),
        Reported(Report(number, number, 1.0, {"loss": float(rng.random())}), attempt=1),
        JobEnded(number, number, JobEnd.COMPLETED, TrialState.COMPLETED),
    ]


def _peer(site: Site, peers: Clients, optimizer: str, size: int, clients: int, scale: Scale) -> tuple[float, int]:
    name = f"{optimizer}-{size}-{clients}"
    order = {"url": site.peer_url, "space": SPACE.model_dump(mode="json")}
    filled = peers.order({**order, "fill": name, "trials": size})["filled"]
    if filled != size:
        raise RuntimeError(f"Optuna finds {filled} of {size} trials in the study that was filled for it")
    return peers.pairs_per_second(clients, {**order, "study": name, "sampler": optimizer}, scale.seconds)


def _list_pages(site: Site, study: str, trials: int) -> dict[str, Cell]:
    """Pages of the trial list, from one end to the other."""
    path, times = f"/v1/studies/{study}/trials?limit=100", []
    cursor = ""
    for _ in range(min(PAGES, trials // 100)):
        began = time.perf_counter()
        page = site.service.get(path + cursor)
        times.append(1e3 * (time.perf_counter() - began))
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] and random.random() < 0.9 else ""
    return {
        "store": site.store,
        "list of trials": trials,
        "pages": len(times),
        "p50_ms": round(percentile(times, 0.5), 2),
        "p95_ms": round(percentile(times, 0.95), 2),
    }


def _headline(result: Result, scale: Scale) -> None:
    rows: list[dict[str, Any]] = [row for row in result.rows if "pairs/s" in row]
    for store in scale.stores if rows else ():
        ratios = [row["ratio"] for row in rows if row["store"] == store and row["ratio"] is not None]
        if ratios:
            result.headline[f"ask_tell_vs_optuna_{store}"] = min(ratios)
        for size in scale.clients:
            rates = [row["pairs/s"] for row in rows if row["store"] == store and row["trials"] == size]
            result.headline[f"pairs_per_second_{store}_at_{size}"] = min(rates)
    pages: list[Any] = [row["p95_ms"] for row in result.rows if "p95_ms" in row]
    if pages:
        result.headline["list_page_p95_ms"] = max(pages)


if __name__ == "__main__":
    main()
