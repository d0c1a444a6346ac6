"""`tunewright demo-db`: a private database under load, attached, tuned, and put back, in one command."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunewright.cli import output, show_databases, show_sessions
from tunewright.cli.demo import LONGEST_RAY_PATH
from tunewright.cli.problems import Refused
from tunewright.cli.service_process import running_service
from tunewright.cli.session_lines import News, follow
from tunewright.client import Client
from tunewright.errors import TunewrightError
from tunewright.session import SessionBudget, SessionSpec, SessionState
from tunewright.session_views import IntervalView, SessionView

if TYPE_CHECKING:
    from db_knobs.lab.demo import ChangingLoad, DemoServer

NAME = "demo"
# Few enough to learn something of each within minutes.
KNOBS = [
    "jit",
    "random_page_cost",
    "work_mem",
    "max_parallel_workers_per_gather",
]
# Intervals of seconds are noisy: less than this says nothing.
MARGIN = 0.1
# A trial of both at the end, in turn, so that what else the machine does hits both.
TRIAL_SECONDS = 4.0
TRIALS = 3


def demo_db(
    seconds: Annotated[float, typer.Option(min=10, help="How long to tune.")] = 180.0,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between decisions.")] = 3.0,
    scale: Annotated[float, typer.Option(min=0.01, max=2, help="Size of the data; 1 is about 400 MB.")] = 0.5,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the service; 0 takes a free one.")] = 0,
) -> None:
    """Start a private PostgreSQL under a changing load, tune it while it works, and put its settings back."""
    with ExitStack() as stack:
        data_dir = Path(stack.enter_context(TemporaryDirectory(prefix="tw-demo-", ignore_cleanup_errors=True)))
        output.heading("Starting a private PostgreSQL with the data of a shop (some seconds) ...")
        server = stack.enter_context(_server(scale))
        output.heading("Starting Tunewright (some seconds) ...")
        ray_dir = data_dir / "ray" if len(str(data_dir)) <= LONGEST_RAY_PATH else None
        url = stack.enter_context(running_service(data_dir, port, cpus=1, ray_temp_dir=ray_dir))
        client = stack.enter_context(Client(url))
        _attach(client, server)
        before = server.settings(KNOBS)
        load = stack.enter_context(server.load())
        session, intervals = _tune(client, seconds, interval)
        restored = _verified(server, before)
        _summary(session, intervals)
        _trial(server, load, session)
        if not restored or session.state is not SessionState.FINISHED:
            raise typer.Exit(1)


def _server(scale: float) -> DemoServer:
    try:
        from db_knobs.lab.demo import DemoServer
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tunewright"):
            raise
        raise Refused(
            f"the server's packages are not installed ({error.name} is missing): pip install 'tunewright[server]'"
        ) from None
    return DemoServer(scale)


def _attach(client: Client, server: DemoServer) -> None:
    """Attach with a role that may nothing at first, and give it what the service says is missing."""
    output.heading("\nAttaching it with a new role")
    database = client.attach(NAME, server.dsn, password=server.password)
    show_databases.attached(database)
    if database.probe is None or not database.probe.missing:
        return
    output.heading("\nRunning these statements as an administrator, and looking again")
    server.run(database.probe.missing)
    found = client.probe(database.id)
    if found.missing:
        raise TunewrightError(f"rights are still missing: {' '.join(found.missing)}")
    output.fields([("missing", "nothing")])


def _tune(client: Client, seconds: float, interval: float) -> tuple[SessionView, list[IntervalView]]:
    budget = SessionBudget(seconds=seconds)
    spec = SessionSpec(database=NAME, knobs=KNOBS, interval=interval, budget=budget, margin=MARGIN)
    session = client.create_session(spec)
    output.heading(f"\nTuning it for {seconds:g} seconds")
    output.fields([("page", f"{client.url}/sessions/{session.id}")])
    intervals: list[IntervalView] = []

    def note(news: News) -> None:
        if isinstance(news, IntervalView) and news.skipped is None:
            intervals.append(news)

    return follow(client, session.id, note), intervals


def _summary(session: SessionView, intervals: list[IntervalView]) -> None:
    gains = [gain for each in intervals if (gain := show_sessions.improvement(each, maximize=True)) is not None]
    late = gains[-max(1, len(gains) // 3) :]
    output.heading("\nWhat came of it")
    output.fields(
        [
            ("improvement", f"{show_sessions.share(session.gain)} in the mean over time"),
            ("late", f"{show_sessions.share(fmean(late) if late else None)} in the last third"),
            ("unsafe", f"{session.unsafe} of {session.intervals} intervals, {session.lost:.2f} intervals of work lost"),
            ("ended_early", str(sum(each.aborted for each in intervals))),
            ("seconds_per_decision", f"{_decision(intervals):.3f}"),
        ]
    )
    _changes(session, intervals)


def _decision(intervals: list[IntervalView]) -> float:
    spent = [each.seconds_of["suggest"] for each in intervals if "suggest" in each.seconds_of]
    return fmean(spent) if spent else 0.0


def _changes(session: SessionView, intervals: list[IntervalView]) -> None:
    """What was changed and why: each knob's values and in how many intervals, and the reasons given."""
    former = show_sessions.settings_before(session)
    best = (session.best or {}).get("config", {})
    rows = []
    for name in sorted(former):
        values = {each.config[name] for each in intervals if each.config.get(name, former[name]) != former[name]}
        if values:
            tried = f"{len(values)} other{'' if len(values) == 1 else 's'}"
            rows.append(
                (name, *(show_databases.value(of) for of in (former[name], best.get(name, former[name]))), tried)
            )
    output.heading("\nWhat was changed")
    output.table(("Knob", "Former", "Best known", "Tried"), rows, right=("Former", "Best known"))
    output.heading("\nWhy")
    reasons = Counter(str(each.why.get("rule", "no suggestion yet")) for each in intervals)
    output.table(("Intervals", "Reason"), [(str(n), why) for why, n in reasons.most_common()], right=("Intervals",))


def _verified(server: DemoServer, before: dict[str, str]) -> bool:
    """Whether the server itself says that its settings are the former ones."""
    after, kept = server.settings(list(before)), server.kept()
    output.heading("\nPut back, as the server says")
    output.table(
        ("Knob", "Before", "After"),
        [(name, before[name], after[name]) for name in sorted(before)],
        right=("Before", "After"),
    )
    output.fields([("left_in_postgresql.auto.conf", ", ".join(kept) or "nothing")])
    return after == before and not kept


def _trial(server: DemoServer, load: ChangingLoad, session: SessionView) -> None:
    """Former and best known settings in turn, as the clients see them."""
    former = show_sessions.settings_before(session)
    best: dict[str, Any] = {n: v for n, v in (session.best or {}).get("config", {}).items() if v != former.get(n)}
    if not best:
        output.line("nothing better than the former settings was found")
        return
    output.heading("\nFormer and best known settings in turn, as the clients see them")
    seen: dict[str, list[float]] = {"former": [], "best": []}
    for _ in range(TRIALS):
        for name, settings in (("former", dict.fromkeys(best)), ("best", best)):
            server.set(settings)
            seen[name].append(load.measure(TRIAL_SECONDS).throughput)
    server.set(dict.fromkeys(best))
    means = {name: fmean(of) for name, of in seen.items()}
    output.fields(
        [
            *((name, f"{mean:.1f} transactions of the shop a second") for name, mean in means.items()),
            ("gain", show_sessions.share(means["best"] / means["former"] - 1)),
        ]
    )
