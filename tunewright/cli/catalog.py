"""Commands about what studies can choose from."""

from __future__ import annotations

from tunewright.cli import output
from tunewright.cli.options import Json, Url
from tunewright.cli.show import number
from tunewright.client import Client


def workloads(json: Json = False, url: Url = None) -> None:
    """List the workloads that studies can tune."""
    with Client(url) as client:
        found = client.workloads()
    if json:
        output.as_json(found)
        return
    rows = [
        (
            info.reference,
            " ".join(f"{objective.direction} {objective.metric}" for objective in info.objectives),
            f"{number(info.fidelity.min)} to {number(info.fidelity.max)} {info.fidelity.name}",
            str(len(info.space.parameters)),
            info.description,
        )
        for info in found.items
    ]
    rows += [(reference, "-", "-", "-", f"cannot be loaded: {why}") for reference, why in found.problems.items()]
    output.table(("Workload", "Objectives", "Fidelity", "Parameters", "Description"), rows, right=("Parameters",))


def optimizers(json: Json = False, url: Url = None) -> None:
    """List the optimizers and their settings."""
    with Client(url) as client:
        found = client.optimizers()
    if json:
        output.as_json(found)
        return
    rows = [(info.name, ", ".join(info.settings.get("properties", {})), info.description) for info in found]
    output.table(("Optimizer", "Settings", "Description"), rows)
