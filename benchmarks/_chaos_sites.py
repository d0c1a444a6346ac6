"""Where the chaos benchmark lets studies run, and what can happen there.

An attack is a function that does the damage and, where nobody else would, mends it again: a killed service is started
anew as its supervisor would, a full disk gets its room back. Everything else has to recover by itself. It returns when
the damage had landed, before any mending: `time.time()`, as trials write it into their record.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import httpx
import psutil

from benchmarks._service import WORKLOADS
from db_knobs.lab.postgres import PrivatePostgres
from tests.e2e.ray_head import RayNode, running_head, running_node
from tests.e2e.service_process import ServiceProcess, descendants, kill

Attack: TypeAlias = Callable[[], float]
DISK_MEGABYTES = 64
FULL_SECONDS = 4.0
STOPPED_SECONDS = 4.0
PAUSED_SECONDS = 20.0
SETTINGS = {"TUNEWRIGHT_IMPORT_PATHS": f'["{WORKLOADS}"]'}


class NoVictim(Exception):
    """There is nothing of the kind at the moment."""


@dataclass(frozen=True)
class Site:
    """Services on a store and a cluster.

    Attributes:
        light: attacks on one runner or trial, of which many fit into a minute.
        heavy: attacks on what many depend on.
    """

    name: str
    services: list[ServiceProcess]
    light: Mapping[str, Attack]
    heavy: Mapping[str, Attack]

    def client(self) -> httpx.Client | None:
        """Of a service that answers; None when none does."""
        for service in self.services:
            try:
                if service.client.get("/readyz", timeout=5).status_code == 200:
                    return service.client
            except httpx.TransportError:
                pass
        return None


@contextmanager
def embedded(home: Path, rng: random.Random) -> Iterator[Site]:
    """One service with SQLite and a Ray of its own; as root on a small disk that can be filled."""
    with ExitStack() as stack:
        data = home / "data"
        if os.geteuid() == 0:
            data = stack.enter_context(_small_disk(home / "disk")) / "data"
        settings = {**SETTINGS, "TUNEWRIGHT_CHECKPOINT_URL": f"file://{home / 'checkpoints'}"}
        service = ServiceProcess(data, settings, log=home / "service.log")
        service.start()
        stack.callback(service.stop)

        def restarted(damage: Callable[[], None]) -> Attack:
            def attack() -> float:
                damage()
                landed = time.time()
                service.start()
                return landed

            return attack

        def on_cluster(role: str) -> Attack:
            return lambda: _kill_one(role, [service.pid], rng)

        heavy = {
            "service": restarted(service.kill),
            "everything": restarted(service.kill_everything),
            "raylet": on_cluster("raylet"),
            "head of Ray": on_cluster("gcs_server"),
        }
        if os.geteuid() == 0:
            heavy["full disk"] = lambda: _fill(data.parent)
        yield Site("SQLite, one service", [service], {role: on_cluster(name) for role, name in ROLES.items()}, heavy)


@contextmanager
def replicated(home: Path, rng: random.Random) -> Iterator[Site]:
    """Two services on one PostgreSQL and a Ray cluster of two nodes."""
    with ExitStack() as stack:
        postgres = PrivatePostgres()
        stack.callback(postgres.remove)
        postgres.start()
        head = stack.enter_context(running_head(home / "head.log", cpus=2))
        node = stack.enter_context(running_node(head, home / "node.log", cpus=2))
        database = postgres.create_database()
        settings = {
            **SETTINGS,
            **head.environment,
            "TUNEWRIGHT_DATABASE_URL": postgres.url(database),
            "TUNEWRIGHT_CHECKPOINT_URL": f"file://{home / 'checkpoints'}",
        }
        services = [ServiceProcess(home / name, settings, log=home / f"{name}.log") for name in ("one", "two")]
        for service in services:
            service.start()
            stack.callback(service.stop)

        def service_killed(leads: bool) -> float:
            rows = postgres.execute("SELECT holder FROM leases WHERE name = 'conductor'", database)
            leader = int(rows[0][0].rpartition(":")[2]) if rows else None
            victims = [service for service in services if (service.pid == leader) is leads]
            if not victims:
                raise NoVictim
            victims[0].kill()
            landed = time.time()
            victims[0].start()
            return landed

        def on_cluster(role: str) -> Attack:
            return lambda: _kill_one(role, [head.pid, node.pid], rng)

        heavy: dict[str, Attack] = {
            "conductor": lambda: service_killed(True),
            "other service": lambda: service_killed(False),
            "raylet": lambda: _node_lost(node),
            "database stopped": lambda: _away(postgres.stop, postgres.start, STOPPED_SECONDS),
            "database paused": lambda: _away(postgres.pause, postgres.resume, PAUSED_SECONDS),
        }
        light = {role: on_cluster(name) for role, name in ROLES.items()}
        yield Site("PostgreSQL, two services", services, light, heavy)


# Role of a process -> what stands in its name or command line.
ROLES = {"runner": "StudyRunner", "worker": "ray::leg", "trial": "tunewright.child"}


def _kill_one(mark: str, roots: list[int], rng: random.Random) -> float:
    """kill -9 of one process, of those below the roots, that bears the mark."""
    found = []
    for process in [process for root in roots for process in descendants(root)]:
        try:
            if mark in " ".join([process.name(), *process.cmdline()[:6]]):
                found.append(process.pid)
        except psutil.NoSuchProcess:
            pass
    if not found:
        raise NoVictim
    kill(rng.choice(sorted(found)))
    return time.time()


def _node_lost(node: RayNode) -> float:
    """A node of the cluster is gone from one moment to the next; another one joins."""
    node.end()
    landed = time.time()
    node.start()
    return landed


def _away(down: Callable[[], None], up: Callable[[], None], seconds: float) -> float:
    down()
    landed = time.time()
    try:
        time.sleep(seconds)
    finally:
        up()
    return landed


def _fill(disk: Path) -> float:
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass
    except OSError:
        pass
    landed = time.time()
    try:
        time.sleep(FULL_SECONDS)
    finally:
        filler.unlink()
    return landed


@contextmanager
def _small_disk(path: Path) -> Iterator[Path]:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
