"""What docs/command-workload.md shows works as it stands there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from optimizers.protocol import Job
from tunewright import StudySpec
from tunewright.study import Resources
from workers import leg
from workers.leg import LegSettings
from workers.orders import LegOrder, Outcome, Reply

PAGE = (Path(__file__).parents[2] / "docs" / "command-workload.md").read_text()
PROGRAMS = {"python": ("train.py", "python3, train.py, --rate"), "sh": ("train.sh", "sh, train.sh")}


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(found)


class Link:
    def __init__(self) -> None:
        self.losses: dict[float, float] = {}

    def report(
        self, job: int, attempt: int, worker: str, reports: Sequence[tuple[float, Mapping[str, float]]], log: str
    ) -> Reply:
        self.losses |= {resource: metrics["loss"] for resource, metrics in reports}
        return Reply.CONTINUE


@pytest.fixture(autouse=True)
def _no_idle_child() -> Iterator[None]:
    yield
    leg.close_idle()


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_is_run_in_two_legs_and_goes_on_from_its_state(tmp_path: Path, language: str) -> None:
    file, argv = PROGRAMS[language]
    (tmp_path / file).write_text(block(language))
    study = tmp_path / "study.yaml"
    study.write_text(block("yaml").replace("python3, train.py, --rate", argv))
    spec = StudySpec.from_yaml(study)
    assert spec.fidelity is not None
    spec = spec.model_copy(update={"resources": spec.resources or Resources()})
    settings = LegSettings(f"file://{tmp_path / 'states'}")
    whole, halves = Link(), Link()

    def run(link: Link, trial: int, start: int, end: int) -> None:
        job = Job(10 * trial + start, trial, {"rate": 0.1}, start, end)
        result = leg.run(LegOrder("study", job, 1, 7, spec), link, settings)
        assert result.outcome is Outcome.COMPLETED, (result.problem, result.log)

    run(whole, 0, 0, 6)
    run(halves, 1, 0, 2)
    seen = dict(halves.losses)
    run(halves, 1, 2, 6)

    assert list(seen) == [1, 2]
    assert list(halves.losses) == [1, 2, 3, 4, 5, 6]
    assert halves.losses == whole.losses
    assert whole.losses[6] == pytest.approx((4 * 0.8**6) ** 2, rel=1e-3)


def test_the_examples_are_short() -> None:
    assert len(block("python").splitlines()) <= 15
    assert len(block("sh").splitlines()) <= 10


def test_the_shell_form_of_argv_is_the_one_that_is_run() -> None:
    assert f'argv: [{PROGRAMS["sh"][1]}, "{{rate}}"]' in PAGE
    assert shlex.split(PROGRAMS["sh"][1].replace(",", "")) == ["sh", "train.sh"]
