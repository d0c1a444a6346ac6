"""Does anything get lost? Studies run while services, runners, workers, Ray and the store are killed at random.

    python -m benchmarks.chaos [--quick] [--json FILE] [--seed N]

Two sites, one after the other: a single service on SQLite with a Ray of its own, then two services on PostgreSQL and
a Ray cluster of two nodes. At each, studies of several optimizers are submitted one after another, so that some always
run. Kills are signal 9, at random among what there is; most hit a runner, a worker or a trial's process, every few
something that many depend on. When the kills are over the studies have to end by themselves.

Trials keep their own record, outside of the service, of each leg that began and each report that was acknowledged:

lost_reports         acknowledged, or once shown by the API, and not there in the end
duplicate_reports    there twice
finished_trials_rerun  legs that began after the API had shown their trial as over
hung_studies         not over when they should be; failed_studies and failed_trials count as well, and should be 0
unrecovered          attacks after which no report was acknowledged any more, for as long as was waited

recovery is the time from the moment at which the damage has landed to the first report, of any trial, that is
acknowledged after it. It runs while an attack mends itself, so that the attack's own duration is within (the restart of
a service, twenty seconds of a paused database, four of a stopped one or of a full disk), unless a report is
acknowledged meanwhile, as by a runner that does without the service.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import httpx

from benchmarks._chaos_sites import Attack, NoVictim, Site, embedded, replicated
from benchmarks._harness import Arguments, Cell, Result, arguments, publish

NAME = "chaos"
OPTIMIZERS = ("hypertune", "random", "asha", "bayes")
OVER = ("completed", "failed", "cancelled")
LOOK_SECONDS = 0.3
SILENCE_SECONDS = 120.0
# A study's number and a trial's x: how the record tells trials apart.
Key: TypeAlias = tuple[int, float]


@dataclass(frozen=True)
class Scale:
    """How much happens at each site.

    Attributes:
        kills: of any kind.
        heavy_every: one in so many hits something that many depend on.
        pause: longest pause between two kills, seconds.
        trials: per study.
        end_seconds: by when, after the last kill, all studies must be over.
    """

    kills: int
    heavy_every: int
    pause: float
    trials: int
    end_seconds: float


QUICK = Scale(kills=10, heavy_every=4, pause=0.8, trials=6, end_seconds=60)
WHOLE = Scale(kills=100, heavy_every=5, pause=2.0, trials=16, end_seconds=240)


@dataclass
class Seen:
    """What the API has shown of a study while it ran.

    Attributes:
        over: trial's x -> when it was first seen in a final state.
        reached: trial's x -> the largest resource that it was seen to have reported.
    """

    over: dict[float, float] = field(default_factory=dict)
    reached: dict[float, float] = field(default_factory=dict)


class Studies(threading.Thread):
    """Keeps two studies running, and looks at them all the time."""

    def __init__(self, site: Site, record: Path, scale: Scale) -> None:
        super().__init__(name="studies", daemon=True)
        self.seen: dict[str, Seen] = {}
        self.states: dict[str, str] = {}
        self.closed = threading.Event()
        self._site = site
        self._record = record
        self._scale = scale

    def run(self) -> None:
        while not self.closed.wait(LOOK_SECONDS):
            client = self._site.client()
            if client is None:
                continue
            try:
                while sum(state not in OVER for state in self.states.values()) < 2:
                    self._submit(client)
            except (httpx.TransportError, httpx.HTTPStatusError):
                # It was killed in the middle, or its store is away; the next look finds out.
                continue
            self._look_at_all(client)

    def wait_until_over(self, seconds: float) -> None:
        """Submit nothing more, and look on until all is over or the time is up."""
        self.closed.set()
        self.join()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(state not in OVER for state in self.states.values()):
            client = self._site.client()
            if client is not None:
                self._look_at_all(client)
            time.sleep(LOOK_SECONDS)

    def _submit(self, client: httpx.Client) -> None:
        number = len(self.states)
        spec = {
            "name": f"chaos {number}",
            "workload": "witnessed:Witnessed",
            "optimizer": OPTIMIZERS[number % len(OPTIMIZERS)],
            "budget": {"trials": self._scale.trials},
            "parallel": 2,
            "seed": number,
            "resources": {"cpus": 0.5},
            "data": {"record": str(self._record), "study": number, "seconds": 0.05},
            "limits": {"checkpoint_seconds": 0.1, "retries": 100},
        }
        # The key makes it safe to send again what may or may not have arrived.
        answer = client.post("/v1/studies", json=spec, headers={"Idempotency-Key": f"chaos-{number}"})
        answer.raise_for_status()
        self.states[answer.json()["id"]] = "queued"

    def _look_at_all(self, client: httpx.Client) -> None:
        for study in [study for study, state in self.states.items() if state not in OVER]:
            try:
                self._look(client, study)
            except (httpx.TransportError, httpx.HTTPStatusError):
                return

    def _look(self, client: httpx.Client, study: str) -> None:
        seen = self.seen.setdefault(study, Seen())
        state = _get(client, f"/v1/studies/{study}")["state"]
        for trial in _pages(client, f"/v1/studies/{study}/trials"):
            x = trial["config"]["x"]
            seen.reached[x] = max(trial["resource"], seen.reached.get(x, 0.0))
            if trial["state"] not in ("running", "waiting"):
                seen.over.setdefault(x, time.time())
        self.states[study] = state


@dataclass
class Damage:
    """One attack; `recovery` in seconds, None when nothing was acknowledged until too long after its end."""

    kind: str
    recovery: float | None


def rampage(site: Site, record: Path, scale: Scale, rng: random.Random) -> Iterator[Damage]:
    """Attack until there have been enough attacks; waits after each until some report is acknowledged."""
    done = 0
    while done < scale.kills:
        kinds = site.heavy if done % scale.heavy_every == scale.heavy_every - 1 else site.light
        kind = rng.choice(sorted(kinds))
        damage = _attack(kind, kinds[kind], record)
        if damage is None:
            time.sleep(LOOK_SECONDS)
            continue
        done += 1
        yield damage
        time.sleep(rng.uniform(0.1, scale.pause))


def _attack(kind: str, attack: Attack, record: Path) -> Damage | None:
    known = record.stat().st_size
    try:
        landed = attack()
    except NoVictim:
        return None
    deadline = time.monotonic() + SILENCE_SECONDS
    while (acknowledged := _acknowledged(record, known, landed)) is None:
        if time.monotonic() > deadline:
            return Damage(kind, None)
        time.sleep(0.05)
    return Damage(kind, acknowledged - landed)


def _acknowledged(record: Path, known: int, moment: float) -> float | None:
    """When the first report after a moment was acknowledged, by what the record has beyond its first `known` bytes.

    Lines of reports from before the moment, which may be written after it, and of legs that begin do not count.
    """
    with record.open() as file:
        file.seek(known)
        # The last part is empty, or a line of which more is to come.
        *lines, _ = file.read().split("\n")
    times = [line["at"] for line in map(json.loads, lines) if "step" in line and line["at"] > moment]
    return min(times, default=None)


@dataclass
class Verdict:
    """What is wrong in the end; all 0 is what is promised."""

    lost_reports: int = 0
    duplicate_reports: int = 0
    finished_trials_rerun: int = 0
    hung_studies: int = 0
    failed_studies: int = 0
    failed_trials: int = 0
    unrecovered: int = 0


def judge(client: httpx.Client, studies: Studies, record: Path) -> tuple[Verdict, int]:
    """Compare the trials' own record with what the service has; also how many reports there were.

    Whether it recovered from each attack is not to be seen there.
    """
    verdict = Verdict()
    begun, acknowledged = _read(record)
    reports = 0
    for number, study in enumerate(studies.states):
        seen = studies.seen.get(study, Seen())
        state = _get(client, f"/v1/studies/{study}")["state"]
        verdict.hung_studies += state not in OVER
        verdict.failed_studies += state == "failed"
        for trial in _pages(client, f"/v1/studies/{study}/trials"):
            x = trial["config"]["x"]
            stored = [each["resource"] for each in _pages(client, f"/v1/trials/{trial['id']}/reports")]
            reports += len(stored)
            shown = set(range(1, int(seen.reached.get(x, 0.0)) + 1))
            verdict.lost_reports += len((acknowledged.pop((number, x), set()) | shown) - set(stored))
            verdict.duplicate_reports += len(stored) - len(set(stored))
            verdict.finished_trials_rerun += sum(at > seen.over.get(x, at) for at in begun.get((number, x), []))
            verdict.failed_trials += trial["state"] == "failed"
    # What nobody knows a trial of.
    verdict.lost_reports += sum(len(steps) for steps in acknowledged.values())
    return verdict, reports


def run(scale: Scale, found: Arguments, seed: int) -> Result:
    """Both sites, one after the other."""
    result = Result(NAME, found.command)
    total: Counter[str] = Counter()
    for place in (embedded, replicated):
        rng = random.Random(seed)
        with _home() as home, place(home, rng) as site:
            record = home / "record"
            record.touch()
            studies = Studies(site, record, scale)
            studies.start()
            damages = []
            for damage in rampage(site, record, scale, rng):
                damages.append(damage)
                recovery = "not" if damage.recovery is None else f"after {damage.recovery:.1f} s"
                print(f"{site.name}: {len(damages)} of {scale.kills}: {damage.kind}, back {recovery}", file=sys.stderr)
            studies.wait_until_over(scale.end_seconds)
            client = site.client()
            if client is None:
                raise RuntimeError(f"{site.name}: no service answers; {site.services[0].log.read_text()[-4000:]}")
            verdict, reports = judge(client, studies, record)
            verdict.unrecovered = sum(damage.recovery is None for damage in damages)
        for kind in sorted({damage.kind for damage in damages}):
            times = [damage.recovery for damage in damages if damage.kind == kind and damage.recovery is not None]
            row: dict[str, Cell] = {"site": site.name, "killed": kind}
            row["times"] = sum(damage.kind == kind for damage in damages)
            row["recovery_s"] = median(times) if times else None
            row["longest_s"] = max(times, default=None)
            result.rows.append(row)
        result.rows.append({"site": site.name, "studies": len(studies.states), "reports": reports, **vars(verdict)})
        total.update(vars(verdict))
        total.update({"kills": len(damages), "reports": reports, "studies": len(studies.states)})
    result.headline = {name: float(value) for name, value in total.items()}
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and publish what it found; ends with an error if a promise was broken."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seed", type=int, default=0)
    own, rest = parser.parse_known_args(argv)
    found = arguments(NAME, (__doc__ or "").split("\n\n")[0], rest)
    found = replace(found, command=f"{found.command} --seed {own.seed}" if own.seed else found.command)
    result = run(QUICK if found.quick else WHOLE, found, own.seed)
    publish(result, found.json)
    if broken := [name for name in vars(Verdict()) if result.headline[name]]:
        sys.exit(f"broken: {', '.join(broken)}")


def _read(record: Path) -> tuple[dict[Key, list[float]], dict[Key, set[int]]]:
    """When legs of each trial began, and which of its steps were acknowledged."""
    begun: dict[Key, list[float]] = {}
    acknowledged: dict[Key, set[int]] = {}
    for text in record.read_text().splitlines():
        line = json.loads(text)
        key = (line["study"], line["x"])
        if "began" in line:
            begun.setdefault(key, []).append(line["began"])
        else:
            acknowledged.setdefault(key, set()).add(int(line["step"]))
    return begun, acknowledged


def _get(client: httpx.Client, path: str) -> Any:
    answer = client.get(path)
    answer.raise_for_status()
    return answer.json()


def _pages(client: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page = _get(client, f"{path}?limit=500{cursor}")
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"


@contextmanager
def _home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tw-chaos-", ignore_cleanup_errors=True) as name:
        yield Path(name)


if __name__ == "__main__":
    main()
