"""What docs/graph-learning.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from models.data.graphs import GRAPHS, sbm
from models.gnn.designs import MESSAGES, OPERATORS
from tunewright import StudySpec
from tunewright.workload import describe

PAGE = (Path(__file__).parents[3] / "docs" / "graph-learning.md").read_text()


def block(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)[0]


def test_the_study_is_one_for_the_workload(tmp_path):
    (tmp_path / "study.yaml").write_text(block("yaml"))

    spec = StudySpec.from_yaml(tmp_path / "study.yaml")

    complete = describe(spec.workload).complete(spec)
    assert [objective.metric for objective in complete.objectives] == ["error", "inference_ms", "memory_mb"]


def test_the_program_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TUNEWRIGHT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("models.data.graphs.load", lambda name: sbm())

    exec(compile(block("python"), "graph-learning.md", "exec"), {})

    assert float(capsys.readouterr().out) > 0.5


def test_the_page_knows_all_graphs_operators_and_aggregators():
    for entry in GRAPHS.values():
        assert f"| `{entry.name}` | {entry.nodes:,} | {entry.edges:,} | {entry.features:,} | {entry.classes} |" in PAGE
    for name in (*OPERATORS, *MESSAGES):
        assert f"`{name}`" in PAGE or name == "ppr_0.2"
