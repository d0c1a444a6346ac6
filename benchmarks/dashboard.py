"""How soon the page of a large study can be used, and what it costs to keep it up to date; beside Optuna Dashboard.

    python -m benchmarks.dashboard [--peers all|none] [--quick] [--json FILE]

Both show the same trials in the same browser: 100,000 of 10 parameters, with their learning curves, in SQLite. A
page can be used once all that it shows first stands and it has answered a click. Ours: the table of trials, progress,
the best value and the learning curves, and a trial's details; Optuna's: the plot of its history, and its menu. The
first paint is the browser's own first contentful paint: the first words that its user sees.
Both servers have been asked for the study once before, so neither reads it for the first time, and the browser has
an empty cache each time. Then reports come, 50 a second, and the browser says how busy the page's main thread was.

Quick: 20,000 trials.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import TimeoutError as PageTimeout

from benchmarks._clients import Clients
from benchmarks._harness import Cell, Result, arguments, publish
from benchmarks._large_study import LargeStudy
from benchmarks._service import free_port, running_service, wait
from benchmarks.peers import environment

NAME = "dashboard"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
RATE = 50.0
PEER = (str(environment.PYTHON), "-m", "benchmarks.peers.large_study")
FILL_SECONDS = 300.0


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        loads: of our page; Optuna's is loaded once, because it takes long.
        seconds: of live updates.
        patience: seconds that a page has until it can be used.
        peer: measure Optuna Dashboard as well.
    """

    trials: int
    loads: int
    seconds: float
    patience: float
    peer: bool = True


QUICK = Scale(trials=20_000, loads=3, seconds=8, patience=40)
WHOLE = Scale(trials=100_000, loads=5, seconds=20, patience=300)


@dataclass(frozen=True)
class Side:
    """One dashboard.

    Attributes:
        url: of the study's page.
        api: address that fetches the study.
        stands: JavaScript that says whether what is shown first is there.
        click: selector of what is clicked.
        answered: JavaScript that says whether the click had its effect.
        live: writes reports for so many seconds; returns how many.
    """

    name: str
    url: str
    api: str
    stands: str
    click: str
    answered: str
    live: Callable[[float], int]


OURS_STANDS = """() => document.querySelector('#trials tbody tr[data-trial]') !== null
    && Number(document.querySelector('#progress').ariaValueNow) > 0
    && document.querySelectorAll('#best-chart .trace').length > 0
    && document.querySelectorAll('#curves-chart .trace').length > 0"""
FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
OPTUNA_STANDS = """() => (document.querySelector('#plot-history')?.data ?? []).some(trace => trace.x.length > 0)
    && document.querySelectorAll('#plot-history .trace').length > 0"""


def main(argv: list[str] | None = None, scale: Scale | None = None) -> None:
    """Measure ours, then Optuna's."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--peers", choices=("all", "none"), default="all")
    own, rest = parser.parse_known_args(argv)
    asked = arguments(NAME, __doc__ or "", rest)
    scale = scale or (QUICK if asked.quick else WHOLE)
    scale = replace(scale, peer=scale.peer and own.peers == "all")
    if scale.peer:
        environment.ensure()
    result = Result(NAME, asked.command + (" --peers none" if own.peers == "none" else ""))
    with tempfile.TemporaryDirectory(prefix="tw-dash-") as name, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with _ours(Path(name), scale.trials) as side:
            ours = _measured(browser, side, scale, scale.loads)
        result.rows.append(ours)
        size = f"{scale.trials // 1000}k" if scale.trials >= 1000 else str(scale.trials)
        result.headline[f"interactive_s_at_{size}"] = _number(ours["interactive_s"])
        result.headline[f"first_paint_s_at_{size}"] = _number(ours["first_paint_s"])
        if busy := ours["live_ms_per_s"]:
            result.headline["live_main_thread_ms_per_s"] = _number(busy)
        if scale.peer:
            with _optuna(Path(name), scale.trials) as side:
                peer = _measured(browser, side, scale, 1)
            result.rows.append(peer)
            result.headline["optuna_dashboard_interactive_s"] = _number(peer["interactive_s"])
            result.headline["speedup_vs_optuna_dashboard"] = _number(peer["interactive_s"]) / _number(
                ours["interactive_s"]
            )
        browser.close()
    publish(result, asked.json)


@contextmanager
def _ours(home: Path, trials: int) -> Iterator[Side]:
    url = f"sqlite:///{home / 'ours.db'}"
    study = LargeStudy(url, trials)
    with study.held(), running_service(environment={"TUNEWRIGHT_DATABASE_URL": url}) as service:
        yield Side(
            name="tunewright",
            url=f"{service.url}/studies/{study.id}",
            api=f"{service.url}/v1/studies/{study.id}",
            stands=OURS_STANDS,
            click="#trials .expander >> nth=0",
            answered="() => document.querySelector('#trials .detail-body') !== null",
            live=lambda seconds: study.live(seconds, RATE),
        )


@contextmanager
def _optuna(home: Path, trials: int) -> Iterator[Side]:
    url, port = f"sqlite:///{home / 'optuna.db'}", free_port()
    command = [str(environment.ENVIRONMENT / "bin" / "optuna-dashboard"), url, "--host", "127.0.0.1"]
    with Clients(PEER, 1) as writer:
        writer.order({"fill": trials, "url": url})
        server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        site = f"http://127.0.0.1:{port}"
        try:
            wait(lambda: _answers(f"{site}/api/meta"), 60, "Optuna Dashboard to be ready", every=0.1)
            yield Side(
                name="optuna-dashboard",
                url=f"{site}/dashboard/studies/1",
                api=f"{site}/api/studies/1?after=0",
                stands=OPTUNA_STANDS,
                click="[aria-label='open drawer']",
                answered="() => document.querySelector(\"a[href$='/analytics']\").clientWidth > 100",
                live=lambda seconds: int(writer.order({"live": seconds, "rate": RATE})["reports"]),
            )
        finally:
            server.kill()
            server.wait()


def _measured(browser: Browser, side: Side, scale: Scale, loads: int) -> dict[str, Cell]:
    began = time.perf_counter()
    size = len(httpx.get(side.api, timeout=scale.patience + 60).raise_for_status().content)
    first = time.perf_counter() - began
    seconds: list[float] = []
    paints: list[float] = []
    busy: dict[str, float] = {}
    for load in range(loads):
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        seconds.append(_interactive(page, side, scale.patience))
        if seconds[-1] >= scale.patience:
            # It may be busy for minutes yet, and neither page nor browser would close before.
            _kill_pages()
            break
        paints.append(float(page.evaluate(FIRST_PAINT)) / 1000)
        if load == loads - 1:
            busy = _live(page, side, scale.seconds)
        context.close()
    return {
        "dashboard": side.name,
        "trials": scale.trials,
        "first_answer_s": first,
        "study_kB": size / 1000,
        "first_paint_s": median(paints) if paints else None,
        "interactive_s": median(seconds),
        "slowest_s": max(seconds),
        "reports_per_s": busy.get("reports"),
        "live_ms_per_s": busy.get("TaskDuration"),
        "scripts_ms_per_s": busy.get("ScriptDuration"),
        "note": "" if seconds[-1] < scale.patience else f"cannot be used after {scale.patience:g} s",
    }


def _interactive(page: Page, side: Side, patience: float) -> float:
    """Seconds until the page stands and has answered a click; `patience` where it has not by then."""
    began = time.perf_counter()

    def left() -> float:
        return 1000 * max(0.001, patience - (time.perf_counter() - began))

    try:
        page.goto(side.url, wait_until="commit", timeout=left())
        page.wait_for_function(side.stands, timeout=left())
        page.click(side.click, timeout=left())
        page.wait_for_function(side.answered, timeout=left())
    except PageTimeout:
        return patience
    return min(patience, time.perf_counter() - began)


def _live(page: Page, side: Side, seconds: float) -> dict[str, float]:
    """Reports that came, and ms of the main thread, per second of live updates."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")
    with ThreadPoolExecutor(1) as writer:
        coming = writer.submit(side.live, seconds)
        before, began = _metrics(devtools), time.perf_counter()
        page.wait_for_timeout(1000 * seconds)
        after, took = _metrics(devtools), time.perf_counter() - began
        reports = coming.result()
    found = {name: 1000 * (after[name] - before[name]) / took for name in ("TaskDuration", "ScriptDuration")}
    return {"reports": reports / seconds, **found}


def _kill_pages() -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "--type=renderer" in process.cmdline():
                process.kill()


def _metrics(devtools: Any) -> dict[str, float]:
    return {metric["name"]: metric["value"] for metric in devtools.send("Performance.getMetrics")["metrics"]}


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _number(cell: Cell) -> float:
    return float(cell if isinstance(cell, (int, float)) else "nan")


if __name__ == "__main__":
    main(sys.argv[1:])
