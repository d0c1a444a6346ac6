"""`tunewright demo`: a service, a real study, its progress and its result, in one command."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from tunewright.cli import output, show
from tunewright.cli.progress import follow
from tunewright.cli.service_process import running_service
from tunewright.client import Client
from tunewright.study import Budget, Fidelity, StudySpec, StudyState

STUDY = StudySpec(
    name="demo",
    workload="xgboost",
    data={"dataset": "breast_cancer"},
    fidelity=Fidelity(name="rounds", min=27, max=243),
    budget=Budget(trials=36),
    parallel=2,
    seed=1,
)
# Ray's sockets lie below this, and their whole path must stay under 108 bytes.
LONGEST_RAY_PATH = 40


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the study.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep everything here.", show_default="a temporary directory")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
) -> None:
    """Start a service, tune XGBoost on a real data set with two trials at a time, and show the result."""
    with ExitStack() as stack:
        ray_dir = None
        if data_dir is None:
            data_dir = Path(stack.enter_context(TemporaryDirectory(prefix="tw-demo-", ignore_cleanup_errors=True)))
            ray_dir = data_dir / "ray" if len(str(data_dir)) <= LONGEST_RAY_PATH else None
        output.heading("Starting Tunewright (some seconds) ...")
        url = stack.enter_context(running_service(data_dir, port, cpus=STUDY.parallel, ray_temp_dir=ray_dir))
        client = stack.enter_context(Client(url))
        submitted = client.submit(STUDY)
        page = f"{url}/studies/{submitted.id}"
        output.fields([("dashboard", page)])
        study = follow(client, submitted.id)
        output.heading("Best configuration")
        show.best(study)
        output.fields([("dashboard", page)])
        if not once:
            output.heading("The service stays up until Ctrl-C.")
            _wait_for_interrupt()
        if study.state is not StudyState.COMPLETED:
            raise typer.Exit(1)


def _wait_for_interrupt() -> None:
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        pass
