"""A cluster of several hosts, each with a network address of its own: one is cut off in the middle of a study.

Hosts are network namespaces of this machine, so they share its file system as hosts of a cluster share theirs. Pulling
a host's cable tells nobody anything: connections stay open, and both sides have to find out by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks._namespaces import Host, hosts, uplink_address
from tests.e2e.ray_head import RayNode, running_head, running_node
from tests.e2e.service_process import ServiceProcess, kill, runner_pids, wait_until
from tests.e2e.test_crashes import (
    acknowledged,
    assert_finished_not_rerun,
    assert_whole,
    finished_configs,
    resumed_from,
    submit,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# Ray gives a host up after some twelve seconds, and the host itself, and not after a minute as they would otherwise.
NOTICING = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "12",
}
STEP_SECONDS = 0.06


@dataclass(frozen=True)
class Site:
    """A service beside the head of a cluster, and the hosts on which its trials run."""

    service: ServiceProcess
    head: RayNode
    nodes: dict[str, tuple[Host, RayNode]]
    lost: set[str] = field(default_factory=set)

    def mend(self) -> None:
        """Bring back the hosts that were cut off; Ray never takes a node back that it has given up."""
        for name in self.lost:
            host, node = self.nodes[name]
            node.end()
            host.plug()
            node.start()
        self.lost.clear()

    def cut_off(self, name: str) -> None:
        self.lost.add(name)
        self.nodes[name][0].unplug()

    def in_the_middle(self, study: str, name: str) -> bool:
        """Whether some trials have finished, and a host is half-way through another."""
        half_way = [trial for trial in self.service.trials(study) if 5 <= trial["resource"] <= 20]
        jobs = [self.service.trial(trial["id"])["jobs"][-1] for trial in half_way if trial["state"] == "running"]
        at_work = {job["worker"].partition(":")[0] for job in jobs}
        return name in at_work and len(finished_configs(self.service, study)) >= 2

    def said(self, words: str) -> bool:
        """Whether some process of the cluster has written these words into its log."""
        return any(words in log.read_text(errors="replace") for log in self.head.directory.rglob("worker-*.err"))

    def host_of_runner(self) -> str:
        """The host on which the study's runner is; one that is beside the head is sent elsewhere."""
        found: list[str] = []

        def placed() -> bool:
            for pid in runner_pids(self.head.pid):
                kill(pid)
            found[:] = [name for name, (_, node) in self.nodes.items() if runner_pids(node.pid)]
            return bool(found)

        wait_until(placed, 60, "a runner on one of the hosts")
        return found[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    logs = tmp_path_factory.mktemp("hosts")
    with ExitStack() as running:
        found = running.enter_context(hosts(2, uplink=True))
        if found is None:
            pytest.skip("network namespaces are not allowed here: needs root and iproute2")
        head = running.enter_context(running_head(logs / "head", 0, uplink_address(), NOTICING))
        nodes = {}
        for host in found:
            words = [*host.words, "unshare", "--uts", "sh", "-c", f'hostname {host.name} && exec "$@"', "sh"]
            node = running_node(head, logs / host.name, 1, host.address, words)
            nodes[host.name] = (host, running.enter_context(node))
        service = ServiceProcess(logs / "data", head.environment)
        running.callback(service.stop)
        service.start()
        yield Site(service, head, nodes)


@pytest.mark.parametrize("with_runner", [False, True])
def test_a_host_is_cut_off(site: Site, tmp_path: Path, with_runner: bool) -> None:
    site.mend()
    service, trace = site.service, tmp_path / "trace"
    study = submit(service, trace, seconds=STEP_SECONDS)
    runners = site.host_of_runner()
    victim = runners if with_runner else next(name for name in site.nodes if name != runners)
    wait_until(lambda: site.in_the_middle(study, victim), 90, "the host to be in the middle of a trial")
    before, finished = acknowledged(service, study), finished_configs(service, study)

    site.cut_off(victim)
    service.wait_for_state(study, "completed", 180)

    assert_whole(service, study, before)
    assert_finished_not_rerun(trace, finished)
    if with_runner:
        # The runner still reaches the store, a file, and its own leg: it may finish that before it is fenced.
        return
    assert site.said("was not heard of"), "the runner should find out by itself: Ray tells it nothing for minutes"
    assert resumed_from(trace), "the lost leg should resume from its last state, somewhere else"
    attempts = [job["attempts"] for trial in service.trials(study) for job in service.trial(trial["id"])["jobs"]]
    assert max(attempts) >= 2
