"""What every registered workload promises: the contract of `tunewright.workload`, once per workload."""

from __future__ import annotations

import itertools
import math
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tunewright.child import Reporter
from tunewright.errors import SpecError, TrialStopped, WorkloadError
from tunewright.space import Float, SearchSpace
from tunewright.study import Budget, StudySpec
from tunewright.workload import Checkpoint, Leg, describe, load, registered

SEED = 11
LONG = 6
# Small data for workloads whose default takes long or has to be fetched.
DATA: dict[str, dict[str, object]] = {
    "moe.lm": {"dataset": "grammar", "vocabulary": 260, "context": 8, "batch": 4, "steps": 1, "validation": 4},
    "recsys.zoomer": {
        "dataset": "generated",
        "users": 60,
        "items": 40,
        "queries": 8,
        "interactions": 1500,
        "unit": 48,
        "judged": 60,
        "ranked": 20,
    },
    "recsys.ctr": {"dataset": "generated", "rows": 300, "chunk_rows": 64},
    "gnn.sgap": {"dataset": "sbm"},
    "gnn.gcn": {"dataset": "sbm"},
    "gnn.active": {"dataset": "sbm"},
    "ipt.classify": {
        "model": "tiny-bert",
        "dataset": "keywords",
        "shots": 8,
        "valid_rows": 20,
        "max_tokens": 16,
        "chunk_steps": 1,
    },
    "walks.node2vec": {"dataset": "communities", "vertices": 60},
}
# Measurements of time differ between runs; everything else a workload reports does not.
TIMES = ("_seconds", "_ms", "_per_second")


def untimed(metrics):
    return {name: value for name, value in metrics.items() if not name.endswith(TIMES)}


class Killed(BaseException):
    """Stands for the process being killed: nothing of the workload runs after it."""


class Trial:
    """Runs a configuration leg by leg as a worker does: real reporter, states copied away as they are saved.

    Every leg finds the global random state where none has found it before; it is to decide nothing.

    Attributes:
        reports: resource -> metrics; a resource reported again must report the same.
    """

    _seeds = itertools.count(1)

    def __init__(self, workload, config, root: Path) -> None:
        self.workload, self.config, self.root = workload, config, root
        self.reports: dict[float, dict[str, float]] = {}
        self.stopped = threading.Event()
        self.legs = 0
        self.saved: tuple[float, Path | None] = (0.0, None)

    def run(self, end, *, stop_at=math.inf, kill_at=math.inf, interval=math.inf) -> None:
        self._stop_at, self._kill_at = stop_at, kill_at
        self.stopped.clear()
        self.legs += 1
        _seed_all(next(self._seeds))
        local = self.root / f"leg-{self.legs}"
        local.mkdir(parents=True)
        resource, kept = self.saved
        latest = None if kept is None else Path(shutil.copytree(kept, local / "latest"))
        checkpoint = Checkpoint(local, latest=latest, resource=resource, interval=interval, on_save=self._keep)
        leg = Leg(start=resource, end=end, seed=SEED)
        objectives = [objective.metric for objective in self.workload.objectives]
        reporter = Reporter(self, leg, objectives, resource)
        try:
            data = DATA.get(self.workload.name, {})
            self.workload.run(self.config, leg, data=data, checkpoint=checkpoint, report=reporter)
        except (TrialStopped, Killed):
            pass
        shutil.rmtree(local)

    def send(self, message) -> None:
        """What `Reporter` sends its reports to."""
        if message["resource"] >= self._kill_at:
            raise Killed
        if message["resource"] >= self._stop_at:
            self.stopped.set()
        metrics = untimed(message["metrics"])
        assert self.reports.setdefault(message["resource"], metrics) == metrics

    def _keep(self, resource, directory) -> None:
        kept = self.root / f"kept-{self.legs}-{resource}"
        shutil.copytree(directory, kept)
        self.saved = resource, kept


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


@pytest.fixture(scope="module", params=registered())
def workload(request):
    return load(request.param)


@pytest.fixture(scope="module", params=["default", 0, 1, 2, 3, 4])
def config(request, workload):
    if request.param == "default":
        return workload.space.default()
    return workload.space.decode(np.random.default_rng(request.param).random(workload.space.dimension))


@pytest.fixture(scope="module")
def long(workload):
    return min(int(workload.fidelity.max), LONG)


@pytest.fixture(scope="module")
def whole(workload, config, long, tmp_path_factory):
    """A trial run in one leg."""
    trial = Trial(workload, config, tmp_path_factory.mktemp("whole"))
    trial.run(long)
    return trial


def test_a_trial_reports_every_step_up_to_its_end_and_saves_there(whole, long):
    assert list(whole.reports) == list(range(1, long + 1))
    assert whole.saved[0] == long


def test_several_legs_report_what_one_long_leg_reports(whole, workload, config, long, tmp_path):
    trial = Trial(workload, config, tmp_path)

    for end in (1, 2, 4, long):
        trial.run(end)

    assert trial.reports == whole.reports


def test_a_stopped_trial_keeps_its_work_and_resumes_with_the_same_reports(whole, workload, config, long, tmp_path):
    trial = Trial(workload, config, tmp_path)

    trial.run(long, stop_at=2)
    assert trial.saved[0] == 2
    trial.run(long, stop_at=4)
    assert trial.saved[0] == 4
    trial.run(long)

    assert trial.reports == whole.reports


def test_a_killed_leg_resumes_from_its_last_state_with_the_same_reports(whole, workload, config, long, tmp_path):
    trial = Trial(workload, config, tmp_path)

    trial.run(long, kill_at=3, interval=0)
    assert trial.saved[0] == 2
    trial.run(long, kill_at=5)
    assert trial.saved[0] == 2
    trial.run(long)

    assert trial.reports == whole.reports


def test_a_leg_that_is_already_done_does_nothing(whole, long):
    before = dict(whole.reports)

    whole.run(long)

    assert whole.reports == before


def test_an_unknown_data_set_is_named_with_the_known_ones(workload, tmp_path):
    if "dataset" not in workload.data_options:
        pytest.skip("takes no data set")

    with pytest.raises(WorkloadError, match=r"data\.dataset: 'nope' is unknown; known: .+, .*"):
        workload.run(
            workload.space.default(),
            Leg(0, 1),
            data={"dataset": "nope"},
            checkpoint=Checkpoint(tmp_path),
            report=lambda resource, metrics: None,
        )


def study(reference, space):
    return StudySpec(name="part", workload=reference, space=space, budget=Budget(trials=1))


@pytest.mark.parametrize("reference", registered())
def test_a_study_searches_a_part_of_the_space_or_where_it_follows_the_data_its_own(reference):
    info = describe(reference)
    part, other = SearchSpace(info.space.parameters[0]), SearchSpace(Float("no_such_parameter", 0, 1))
    if info.space_follows_data:
        assert info.complete(study(reference, other)).space == other
        return

    config = info.complete(study(reference, part)).space.default()

    assert info.space.validate_config(config) == config
    with pytest.raises(SpecError, match=r"space.no_such_parameter: workload .* has no such parameter; known: "):
        info.complete(study(reference, other))


@pytest.mark.parametrize("reference", registered())
def test_a_declaration_is_data_and_survives_json(reference):
    info = describe(reference)

    assert type(info).model_validate_json(info.model_dump_json()) == info
    assert info.name == reference
    assert info.description
    assert info.fidelity.min <= info.fidelity.max


def test_declarations_import_no_heavy_library():
    program = (
        "import sys; from tunewright.workload import describe, registered\n"
        "for name in registered(): describe(name)\n"
        "heavy = {'torch', 'xgboost', 'sklearn', 'scipy', 'pandas', 'numba', 'transformers', 'tokenizers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"


@pytest.mark.parametrize("reference", registered())
def test_a_child_process_runs_resumes_and_stops_it(reference, start_child):
    child = start_child()
    child.send("describe", references=[reference])
    (declared,) = child.receive()["workloads"]
    objectives = [objective["metric"] for objective in declared["objectives"]]
    leg = {"config": load(reference).space.default(), "objectives": objectives, "data": DATA.get(reference, {})}

    *reports, saved, ended = child.run_leg(reference, end=3, **leg)
    assert [report["resource"] for report in reports] == [1, 2, 3]
    assert saved["resource"] == 3
    assert ended["outcome"] == "completed"

    checkpoint = {"root": str(child.states), "latest": saved["directory"], "resource": 3, "interval": 1000}
    end = declared["fidelity"]["max"]
    child.start_leg(reference, end, **leg, checkpoint=checkpoint)
    child.send("stop")
    *reports, saved, ended = child.messages()
    assert reports[0]["resource"] == 4
    assert saved["type"] == "checkpoint"
    assert saved["resource"] == reports[-1]["resource"]
    assert ended["outcome"] == "stopped"
