"""A study of one's own program on a real service: submitted as a file, paused, killed, and read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service_process import ServiceProcess, wait_until
from tunewright import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PROGRAMS = Path(__file__).parents[1] / "programs"
STUDY = """
name: steady program
workload: command
command:
  argv: [{python}, steady.py, "{{x}}", "{seconds}"]
space:
  x: {{type: float, low: 0, high: 1}}
objectives: [{{metric: loss}}]
fidelity: {{name: steps, min: 3, max: 27}}
optimizer: {{name: asha}}
budget: {{trials: {trials}}}
parallel: 2
limits: {{checkpoint_seconds: 0.1}}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path_factory.mktemp("commands") / "data")
    service.start()
    try:
        yield service
    finally:
        service.stop()


def submit(service: ServiceProcess, place: Path, trials: int, seconds: float) -> str:
    """Submit from a file that lies beside the program, as a user does."""
    (place / "steady.py").write_text((PROGRAMS / "steady.py").read_text())
    (place / "study.yaml").write_text(STUDY.format(python=sys.executable, seconds=seconds, trials=trials))
    done = subprocess.run(
        [sys.executable, "-m", "tunewright.cli", "submit", "study.yaml"],
        cwd=place,
        env={**os.environ, "TUNEWRIGHT_URL": service.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def require_whole_curves(service: ServiceProcess, study: str) -> None:
    """Every trial reported each step once up to where it got, with the losses of an undisturbed run."""
    for trial in service.trials(study):
        reports = service.reports(trial["id"])
        steps = [int(report["resource"]) for report in reports]
        assert steps == list(range(1, len(steps) + 1))
        totals = [report["metrics"]["total"] for report in reports]
        assert totals == [step * (step - 1) / 2 for step in steps]


def test_a_program_is_tuned_paused_and_resumed(service: ServiceProcess, tmp_path: Path) -> None:
    study = submit(service, tmp_path, trials=6, seconds=0.05)
    wait_until(lambda: any(t["resource"] > 3 for t in service.trials(study)), 60, "some progress")

    service.client.post(f"/v1/studies/{study}/pause")
    service.wait_for_state(study, "paused", 60)
    service.client.post(f"/v1/studies/{study}/resume")
    service.wait_for_state(study, "completed", 120)

    require_whole_curves(service, study)
    best = service.study(study)["best"][0]["trial"]
    with Client(service.url) as client:
        log = "".join(client.log(f"{study}-{best}"))
    begins = [int(line.split()[2]) for line in log.splitlines() if line.startswith("begins at")]
    assert begins[0] == 0
    assert len(begins) >= 2
    assert begins == sorted(begins)


def test_no_line_that_was_shown_is_lost_when_everything_is_killed(service: ServiceProcess, tmp_path: Path) -> None:
    study = submit(service, tmp_path, trials=2, seconds=0.2)
    wait_until(lambda: all(service.trial(f"{study}-{n}").get("log") for n in (0, 1)), 60, "both trials to print")
    shown = [service.trial(f"{study}-{n}")["log"] for n in (0, 1)]

    service.kill_everything()
    service.start()
    service.wait_for_state(study, "completed", 120)

    require_whole_curves(service, study)
    for n in (0, 1):
        assert service.trial(f"{study}-{n}")["log"].startswith(shown[n])


def test_a_script_that_does_not_exist_fails_its_trials_and_is_named(service: ServiceProcess, tmp_path: Path) -> None:
    study = service.submit(
        name="absent",
        workload="command",
        command={"argv": [sys.executable, "absent.py"], "directory": str(tmp_path)},
        space={"x": {"type": "float", "low": 0, "high": 1}},
        objectives=[{"metric": "loss"}],
        fidelity={"name": "steps", "max": 3},
        optimizer="random",
        budget={"trials": 1},
    )

    service.wait_for_state(study, "failed", 60)

    (trial,) = service.trials(study)
    assert "can't open file" in trial["problem"]
    assert "absent.py" in trial["problem"]
