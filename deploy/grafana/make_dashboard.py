"""Write tunewright.json, the dashboard: rows of panels from the few lines below, so that it can be read and changed.

    python deploy/grafana/make_dashboard.py

A test holds the file to what this writes, and every query to metrics that the service has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("tunewright.json")
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT = 24, 8


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        queries: PromQL by legend.
        unit: Grafana's name of it.
        kind: Grafana's type of panel.
        red_at: value from which it is red; None never.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    red_at: float | None = None


def _quantile(share: float, histogram: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket[5m])))"


ROWS = {
    "Is it well?": [
        Panel("Services that are ready", {"ready": "sum(tunewright_ready)"}, kind="stat"),
        Panel(
            "Conductor's lease",
            {"left": "max(tunewright_conductor_lease_left_seconds)"},
            unit="s",
            kind="stat",
        ),
        Panel("Studies that wait", {"waiting": "max(tunewright_studies_waiting)"}, kind="stat"),
        Panel("Trials that run", {"running": "max(tunewright_trials_running)"}, kind="stat"),
        Panel(
            "Runners that died (1 h)",
            {"died": "sum(increase(tunewright_runner_crashes_total[1h]))"},
            kind="stat",
            red_at=1,
        ),
        Panel(
            "Databases with our settings",
            {"touched": "max(tunewright_sessions_touched)"},
            kind="stat",
        ),
    ],
    "Work": [
        Panel("Studies", {"{{state}}": "max by (state) (tunewright_studies)"}),
        Panel("Tuning sessions", {"{{state}}": "max by (state) (tunewright_sessions)"}),
        Panel(
            "Cluster",
            {
                "processors": "max(tunewright_cluster_cpus)",
                "occupied": "max(tunewright_cluster_cpus) - max(tunewright_cluster_free_cpus)",
                "GPUs": "max(tunewright_cluster_gpus)",
                "GPUs occupied": "max(tunewright_cluster_gpus) - max(tunewright_cluster_free_gpus)",
            },
        ),
    ],
    "Studies": [
        Panel("Progress", {"{{study}}": "max by (study) (tunewright_study_progress_ratio)"}, unit="percentunit"),
        Panel("Trials", {"{{study}} {{state}}": "max by (study, state) (tunewright_study_trials)"}),
        Panel("Time on the cluster", {"{{study}}": "max by (study) (tunewright_study_cluster_seconds)"}, unit="s"),
    ],
    "API": [
        Panel("Requests", {"{{status}}": "sum by (status) (rate(tunewright_request_seconds_count[5m]))"}, unit="reqps"),
        Panel("Slowest hundredth", {"{{route}}": _quantile(0.99, "tunewright_request_seconds", "route")}, unit="s"),
        Panel(
            "Who follows events",
            {
                "{{instance}}": "tunewright_event_clients",
                "refused: {{limit}}": "sum by (limit) (rate(tunewright_event_clients_refused_total[5m]))",
            },
        ),
    ],
    "Store": [
        Panel(
            "Writes",
            {
                "median": _quantile(0.5, "tunewright_store_write_seconds"),
                "99 %": _quantile(0.99, "tunewright_store_write_seconds"),
            },
            unit="s",
        ),
        Panel("Errors", {"{{kind}}": "sum by (kind) (rate(tunewright_store_errors_total[5m]))"}, unit="ops"),
        Panel("From an event to its readers", {"95 %": _quantile(0.95, "tunewright_event_lag_seconds")}, unit="s"),
        Panel("Free space", {"{{instance}}": "tunewright_data_free_bytes"}, unit="bytes"),
    ],
}


def dashboard() -> dict[str, Any]:
    """The dashboard in Grafana's JSON."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(_placed(len(panels) + 1, {"x": 0, "y": top, "w": WIDTH, "h": 1}, "row", title) | {"panels": []})
        width, height = WIDTH // len(row), HEIGHT // 2 if row[0].kind == "stat" else HEIGHT
        for column, panel in enumerate(row):
            place = {"x": column * width, "y": top + 1, "w": width, "h": height}
            panels.append(_placed(len(panels) + 1, place, panel.kind, panel.title) | _shown(panel))
        top += 1 + height
    return {
        "uid": "tunewright",
        "title": "Tunewright",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "tags": ["tunewright"],
        "templating": {"list": []},
        "panels": panels,
    }


def _placed(number: int, place: dict[str, int], kind: str, title: str) -> dict[str, Any]:
    return {"id": number, "type": kind, "title": title, "gridPos": place}


def _shown(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_at is not None:
        steps.append({"color": "red", "value": panel.red_at})
    return {
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
