"""The Ray cluster: a local one of our own, or one that runs already.

A local cluster lives and dies with this process. On a cluster that runs already, runners are detached actors:
studies go on while the service is restarted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError
from ray.job_config import JobConfig
from ray.util import list_named_actors

from tunewright.errors import SpecError, TunewrightError
from tunewright.study import Resources
from workers import signals
from workers.ask_tell import Answer, Refused, Why, Word
from workers.journal import Journal
from workers.leg import LegSettings
from workers.line import Door, open_line
from workers.study_runner import StudyRunner

if TYPE_CHECKING:
    from workers.session_journal import SessionJournal
    from workers.session_settings import SessionSettings

log = logging.getLogger(__name__)

NAMESPACE = "tunewright"
# Trials pass no large objects through Ray, so its shared memory can stay small.
OBJECT_STORE_BYTES = 100 * 2**20
PROBE_SECONDS = 5.0
# Less than what waits for the end of a service has patience: Docker has ten seconds.
LEAVE_SECONDS = 6.0
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class ClusterError(TunewrightError):
    """The cluster could not be started or reached; the message says what to do."""


class OtherVersion(ClusterError):
    """The cluster runs another Ray or Python than this process."""


@dataclass(frozen=True)
class ClusterSettings:
    """How to get a cluster.

    Attributes:
        address: of a cluster that runs already; None starts a local one.
        cpus: processors that a local cluster offers to trials; None means all.
        temp_dir: Ray's sockets and logs; a short path, since sockets must stay under 108 bytes.
        token_file: a local cluster's access token; made when missing.
    """

    address: str | None
    cpus: int | None
    temp_dir: Path
    token_file: Path

    @classmethod
    def running(cls, address: str) -> ClusterSettings:
        """Of a cluster that runs already, which has processors and directories of its own."""
        return cls(address, None, Path(), Path())


@dataclass(frozen=True)
class Run:
    """A runner that this process started.

    Attributes:
        handle: must live as long as what it runs: an actor without one is ended.
        up, over: ready once its process is there, and once it has ended.
    """

    handle: Any
    up: Any
    over: Any


class _Job(JobConfig):
    """Ray's, but that workers do not look for modules where the service was started before they look at what is
    installed: of a project with a package `models` or `service` they would take those for ours."""

    def _serialize(self) -> str:
        # What connects has just put the current directory there.
        self._py_driver_sys_path = []
        return super()._serialize()


class Cluster:
    """A connection to Ray, and the runners started through it."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._addresses: dict[str, Any] = {}

    @property
    def local(self) -> bool:
        """Whether the cluster is our own and dies with this process."""
        return self._settings.address is None

    def connect(self) -> None:
        """Start or join the cluster; takes some seconds.

        Raises:
            ClusterError: it cannot be started or reached.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
        if self.local:
            self._use_own_token()
            _make(self._settings.temp_dir)
            options.update(
                # "local" never joins a cluster that happens to run on this machine.
                address="local",
                num_cpus=self._settings.cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(self._settings.temp_dir),
            )
        else:
            options["address"] = self._settings.address
            _probe(self._settings.address)
        if not (self._settings.address or "").startswith("ray://"):
            options["job_config"] = _Job()
        try:
            # Ray's own handler aborts a process that does not end within three seconds, and once Ray was shut down and
            # started again it ends the process at once: databases' settings would not be put back, requests be cut off.
            with signals.kept(SIGTERM):
                found = ray.init(**options)
        except (RayError, ConnectionError, OSError, RuntimeError, ValueError) as error:
            if "Version mismatch" in str(error):
                raise OtherVersion(_versions(self._settings.address, str(error))) from error
            where = "start a local Ray" if self.local else f"reach Ray at {self._settings.address}"
            raise ClusterError(f"cannot {where}: {error}") from error
        # A connection through ray:// has no such addresses.
        self._addresses = getattr(found, "address_info", {})

    def lost(self) -> str | None:
        """Why the cluster we joined is gone; None while it is there.

        Looks whether its head and this node's raylet listen, and asks nothing of Ray: with its head gone Ray's calls
        do not return, and after a minute end the process.
        """
        head, raylet = self._addresses.get("gcs_address"), self._addresses.get("raylet_socket_name")
        try:
            if head:
                host, _, port = head.rpartition(":")
                socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
        except OSError as error:
            return f"the head of the Ray cluster, {head}, does not answer: {error}"
        try:
            if raylet:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(PROBE_SECONDS)
                    connection.connect(raylet)
        except OSError as error:
            return f"Ray's own process on this machine (raylet) is gone: {error}"
        return None

    def start_runner(self, study: str, journal: Journal, settings: LegSettings, *, external: bool = False) -> Run:
        """Start a study's runner; one that is left over under its name is ended first.

        Args:
            external: trials run elsewhere; the runner keeps their desk.
        Returns:
            For `starting`, `ended` and `end_runner`.
        """
        self.kill_runner(study)
        actor: Any = ray.remote(StudyRunner)
        handle = actor.options(
            name=_name(study),
            lifetime=None if self.local else "detached",
            num_cpus=0,
            max_restarts=0,
            max_concurrency=10_000,
        ).remote(journal, settings, external=external)
        return Run(handle, handle.__ray_ready__.remote(), handle.run.remote())

    def runners(self) -> list[str]:
        """Studies that have a runner on the cluster, whoever started it and whether or not it still runs them."""
        prefix = _name("")
        return [name.removeprefix(prefix) for name in list_named_actors() if name.startswith(prefix)]

    async def desk(self, study: str) -> Callable[[Word], Awaitable[Answer]] | None:
        """The way to the desk of a study's runner, whoever started it; None when there is no runner.

        What is said there is answered as closed once the runner is gone.
        """
        # Asked before it is connected, Ray would start a cluster of its own.
        if not ray.is_initialized():
            return None
        try:
            runner = await asyncio.to_thread(ray.get_actor, _name(study))
            door: Door | None = await runner.door.remote()
        except (ValueError, RayError):
            return None
        try:
            if door is not None:
                return (await open_line(door)).say
        except (OSError, TimeoutError) as error:
            log.warning("the desk of study %s is spoken to through Ray, which is slower: %r", study, error)

        async def say(word: Word) -> Answer:
            try:
                answer: Answer = await runner.say.remote(word)
            except RayError:
                return Refused(Why.CLOSED)
            return answer

        return say

    def end_runner(self, run: Run) -> None:
        """End a runner that this process started; one that another started for the same study goes on."""
        ray.kill(run.handle)

    def kill_runner(self, study: str) -> None:
        """End a study's runner at once, if there is one."""
        try:
            ray.kill(ray.get_actor(_name(study)))
        except ValueError:
            pass

    def starting(self, run: Run) -> bool:
        """Whether a runner's process is not there yet, so that it cannot do anything itself."""
        up, _ = ray.wait([run.up], timeout=0)
        return not up

    def ended(self, run: Run) -> tuple[bool, str | None]:
        """Whether a runner has ended, and the problem when it ended by dying."""
        done, _ = ray.wait([run.over], timeout=0)
        if not done:
            return False, None
        try:
            ray.get(run.over)
        except RayError as error:
            cause = getattr(error, "cause", None) or error
            return True, f"{type(cause).__name__}: {cause}"
        return True, None

    def start_session(self, session: str, journal: SessionJournal, settings: SessionSettings) -> Run:
        """Start a tuning session's runner; one that is left over under its name is ended first."""
        # Drivers and models that only sessions need; a service without sessions starts without them.
        from workers.session_runner import SessionRunner

        self.kill_session(session)
        actor: Any = ray.remote(SessionRunner)
        handle = actor.options(
            name=_session_name(session),
            lifetime=None if self.local else "detached",
            num_cpus=0,
            max_restarts=0,
        ).remote(journal, settings)
        return Run(handle, handle.__ray_ready__.remote(), handle.run.remote())

    def sessions(self) -> list[str]:
        """Tuning sessions that have a runner on the cluster, whoever started it and whether or not it still runs."""
        prefix = _session_name("")
        return [name.removeprefix(prefix) for name in list_named_actors() if name.startswith(prefix)]

    def kill_session(self, session: str) -> None:
        """End a tuning session's runner at once, if there is one; its watchdog puts the settings back."""
        try:
            ray.kill(ray.get_actor(_session_name(session)))
        except ValueError:
            pass

    def resources(self) -> tuple[dict[str, float], dict[str, float]]:
        """What the cluster has, and what of it is free, by Ray's names (CPU, GPU, memory in bytes)."""
        api: Any = ray
        return api.cluster_resources(), api.available_resources()

    def check(self, needed: Resources) -> None:
        """Refuse what this cluster, as large as it is now, can never give to one trial.

        Raises:
            SpecError: names the resource, and what there is of it.
        """
        total, _ = self.resources()
        for field, name, amount in (("cpus", "CPU", needed.cpus), ("gpus", "GPU", needed.gpus)):
            if amount > total.get(name, 0.0):
                raise SpecError(
                    f"resources.{field}: a trial needs {amount:g}, the cluster has {total.get(name, 0.0):g}; "
                    "ask for less, or serve a larger cluster with --ray-address"
                )

    def disconnect(self) -> None:
        """Leave the cluster, also one that is lost; a local one ends. It can be joined or started again.

        Tuning sessions on a local one put their databases' settings back before.
        """
        if self.local and ray.is_initialized() and self.lost() is None:
            self._leave_sessions()
        with signals.kept(SIGTERM):
            ray.shutdown()

    def _leave_sessions(self) -> None:
        """Where this process ends with its container, no watchdog is left to do it."""
        try:
            runners = [ray.get_actor(_session_name(session)) for session in self.sessions()]
            left: list[Any] = [runner.leave.remote() for runner in runners]
            if left:
                ray.wait(left, num_returns=len(left), timeout=LEAVE_SECONDS)
        except (ValueError, RayError) as error:
            log.warning("tuning sessions could not be asked to leave; their watchdogs put settings back: %s", error)

    def _use_own_token(self) -> None:
        """Keep the token beside the data rather than in the user's home, where another Ray may have its own."""
        if any(variable in os.environ for variable in TOKEN_VARIABLES) or os.environ.get("RAY_AUTH_MODE") == "disabled":
            return
        # RAY_AUTH_MODE stays unset: Ray then turns tokens on itself, and only that makes it read the mode anew.
        path = self._settings.token_file
        if not path.exists() or not path.stat().st_size:
            path.parent.mkdir(parents=True, exist_ok=True)
            # As a whole or not at all: an empty one, left by a crash or a full disk, would keep Ray away for ever.
            draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(secrets.token_hex(32))
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"ray_temp_dir: {directory} cannot be made ({error.strerror}); name another with TUNEWRIGHT_RAY_TEMP_DIR"
        ) from error


def _probe(address: str | None) -> None:
    """Fail soon and in words where Ray itself would go on trying for many minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdigit():
        # "auto" and ray:// addresses are Ray's own to resolve.
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise ClusterError(f"cannot reach Ray at {address}: {error}; is the head node running?") from error


def _versions(address: str | None, told: str) -> str:
    """Ray's table of versions in a sentence."""
    found = re.findall(r"(Ray|Python): (\S+)", told)
    there, here = (" and ".join(" ".join(pair) for pair in pairs) for pairs in (found[:2], found[2:]))
    return (
        f"Ray at {address} runs {there}, this service {here}: both must be the same everywhere; "
        f"install ray=={ray.__version__} on every node of the cluster, or the service with the cluster's versions"
    )


def _name(study: str) -> str:
    return f"study-runner-{study}"


def _session_name(session: str) -> str:
    return f"session-runner-{session}"
