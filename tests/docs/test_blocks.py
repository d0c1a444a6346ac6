"""Every code block of the handbook is held to the code, by the kind of thing that it shows.

Where a page's programs need a stage of their own and their results are looked at, a test beside this one runs them, and
`ELSEWHERE` says which.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sqlglot
from typer.main import get_command

from optimizers.onlinetune import OnlineTuneSettings, Target
from optimizers.protocol import Problem
from optimizers.registry import create
from service.app import create_app
from service.settings import ServiceSettings
from service.store.engine import migrate, open_engine
from service.store.repository import Repository
from service.workload_catalog import WorkloadCatalog
from tests.docs.pages import ASSIGNMENT, BLOCKS, PAGES, ROOT, Block, of
from tests.service.conftest import ended, report, start
from tests.tunewright.live_service import LiveService
from tunewright import Float, Objective, SearchSpace, StudySpec
from tunewright._session_requests import read_session
from tunewright._yaml import read_mapping
from tunewright.cli import app
from tunewright.study import TrialState
from tunewright.workload import ENTRY_POINT_GROUP

HERE = Path(__file__).parent
ELSEWHERE = {
    ("README.md", "python"): "tests/test_readme.py",
    ("docs/ask-tell.md", "python"): "tests/docs/test_ask_tell.py",
    ("docs/ask-tell.md", "sh"): "tests/docs/test_ask_tell.py",
    ("docs/command-workload.md", "python"): "tests/docs/test_command_workload.py",
    ("docs/command-workload.md", "sh"): "tests/docs/test_command_workload.py",
    ("docs/databases.md", "python"): "tests/tunewright/test_databases_client.py",
    ("docs/ecosystem.md", "python"): "tests/docs/test_ecosystem.py",
    ("docs/graph-learning.md", "python"): "tests/models/gnn/test_docs.py",
    ("docs/own-optimizer.md", "python"): "tests/docs/test_own_pages.py",
    ("docs/own-workload.md", "python"): "tests/docs/test_own_pages.py",
    ("docs/own-workload.md", "yaml"): "tests/docs/test_own_pages.py",
    ("docs/first-study.md", "python"): "tests/docs/test_installed.py",
    ("docs/first-study.md", "sh"): "tests/docs/test_installed.py",
    ("docs/first-database.md", "sh"): "tests/docs/test_first_database.py",
    ("docs/first-database.md", "sql"): "tests/docs/test_first_database.py",
    ("docs/operations.md", "python"): "tests/docs/test_blocks.py",
    ("docs/observability.md", "yaml"): "tests/deploy/test_names.py",
}
KINDS = {"", "json", "promql", "python", "sh", "sql", "text", "toml", "yaml"}


def kind(*languages: str) -> Any:
    """Parametrises a test by the blocks in some languages that can run and that no other test runs."""
    found = [
        b for b in BLOCKS if b.language in languages and b.reason is None and (b.page, b.language) not in ELSEWHERE
    ]
    return pytest.mark.parametrize("block", found, ids=str)


def test_blocks_are_of_a_kind_that_is_tested() -> None:
    unknown = [str(block) for block in BLOCKS if block.language not in KINDS and not block.language.startswith("{")]

    assert unknown == []


@pytest.mark.parametrize("place", ELSEWHERE, ids=" ".join)
def test_pages_that_are_run_elsewhere_are(place: tuple[str, str]) -> None:
    assert any((block.page, block.language) == place for block in BLOCKS)
    assert Path(place[0]).name in (ROOT / ELSEWHERE[place]).read_text()


# --- studies and sessions


@cache
def catalog() -> WorkloadCatalog:
    return WorkloadCatalog([], local=True)


def study_before(block: Block) -> dict[str, Any]:
    """The last whole study on the page before a part of one."""
    earlier = [b for b in BLOCKS if b.page == block.page and b.language == "yaml" and b.line < block.line]
    return next(found for found in map(read, reversed(earlier)) if "workload" in found)


def read(block: Block) -> dict[str, Any]:
    return read_mapping(block.text, "block", "a study or a session")


@kind("yaml")
def test_yaml_is_a_study_that_its_optimizer_takes_or_a_session(block: Block, tmp_path: Path) -> None:
    given = read(block)
    if "database" in given:
        assert read_session(given).database == given["database"]
        return
    if "workload" not in given:
        given = {**study_before(block), **given}
    (tmp_path / "study.yaml").write_text(json.dumps(given))
    spec = StudySpec.from_yaml(tmp_path / "study.yaml")

    complete = catalog().complete(spec)

    assert complete.space is not None
    assert complete.fidelity is not None
    problem = Problem(complete.space, complete.objectives, complete.fidelity)
    assert create(spec.optimizer.name, spec.optimizer.settings, problem).next_job() is not None


# --- commands


@cache
def benchmarks() -> set[str]:
    return {path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")}


@cache
def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def ours(words: list[str]) -> list[str] | None:
    """The arguments of a `tunewright` that is called, by itself or by another command."""
    for place, word in enumerate(words):
        called = place == 0 or words[place - 1] == "--" or ASSIGNMENT.match(words[place - 1])
        if called and word.rpartition("/")[2] == "tunewright":
            return words[place + 1 :]
    return None


def parse(arguments: list[str]) -> None:
    """Raises what the command line would say, without running the command."""
    command: Any = get_command(app)
    context = command.make_context("tunewright", arguments, resilient_parsing=False)
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        if not rest and command.invoke_without_command:
            return
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("", "sh")], ids=str)
def test_commands_of_ours_exist_with_their_options(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEWRIGHT_TOKEN_FILE", raising=False)
    if (block.page, block.language) in ELSEWHERE:
        return
    for words in block.commands():
        arguments = ours(words)
        if arguments is not None:
            parse(arguments)
        elif words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets(), words
        elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
            assert words[2].removeprefix("benchmarks.") in benchmarks(), words
        else:
            assert block.reason is not None, f"{block}: {words[0]} is no command of ours: say why it is not run"


def test_commands_named_in_sentences_exist() -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]

    named = {(page.name, name) for page in PAGES for name in re.findall(r"`tunewright ([a-z-]+)", page.read_text())}

    assert {found for found in named if found[1] not in known} == set()


# --- programs


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    service = LiveService(tmp_path_factory.mktemp("docs") / "data")
    service.start()
    yield service
    service.close()


def plots(service: LiveService) -> Mapping[str, Any]:
    """A study with two trials, in place of the one that the page names."""
    study = service.repository.create_study(StudySpec.from_yaml(HERE / "learning_rate.yaml"))
    runner = service.runner(study)
    for number, rate in enumerate((0.1, 0.01)):
        runner.commit(start(number, number, config={"learning_rate": rate}))
        runner.commit(report(number, number, 3.0, rate), ended(number, number, TrialState.COMPLETED))
    return {"06h1jh9o3qc1sija": study.id}


def walks(service: LiveService) -> Mapping[str, Any]:
    Path("edges.txt").write_text("".join(f"{n} {m}\n" for n in range(12) for m in range(n)))
    return {}


def classifier(service: LiveService) -> Mapping[str, Any]:
    """A tiny model in place of the one that is downloaded."""
    good, bad = ("a fine day", "bright and good"), ("a foul day", "dark and bad")
    names = {"texts": [*good * 20, *bad * 20], "labels": [*"+" * 40, *"-" * 40]}
    return {"minilm": "tiny-bert", "steps=300": "steps=5", **names}


def online_tune(service: LiveService) -> Mapping[str, Any]:
    space = SearchSpace([Float("a", 0.0, 1.0, default=0.2)])
    target = Target(space, space.default(), Objective(metric="tps", direction="maximize"), ("rate",), seconds=60.0)
    return {"target": target, "settings": OnlineTuneSettings(), "context": (1.0,), "rules": [], "measured": 100.0}


# What a page's programs find: texts that stand for others, and names.
STAGES: Mapping[str, Callable[[LiveService], Mapping[str, Any]]] = {
    "docs/online-tune.md": online_tune,
    "docs/plots.md": plots,
    "docs/prompt-tuning.md": classifier,
    "docs/walks.md": walks,
}


@pytest.mark.slow
@kind("python")
def test_programs_run(block: Block, service: LiveService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEWRIGHT_URL", service.url)
    text, names = block.text, {}
    for name, value in STAGES.get(block.page, lambda service: {})(service).items():
        if isinstance(value, str):
            text = text.replace(name, value)
        else:
            names[name] = value

    exec(compile(text, str(block), "exec"), names)


def test_the_backup_is_a_whole_store(service: LiveService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    service.create()

    exec(of("operations.md", "python")[0], {"DATA_DIR": service.settings.data_dir})

    copy = open_engine(f"sqlite:///{tmp_path / 'tunewright-backup.db'}")
    migrate(copy)
    ids = [study.id for study in Repository(copy).studies(limit=50).items]
    copy.dispose()
    assert ids == [study.id for study in service.repository.studies(limit=50).items]
    assert ids


# --- requests, answers, statements


@cache
def document() -> dict[str, Any]:
    """The API as OpenAPI."""
    return create_app(ServiceSettings(data_dir=ROOT / "none")).openapi()


def check_request(method: str, path: str, body: str | None) -> None:
    """A request is one of the API's, and its body one that this takes."""
    (operation,) = (
        methods[method.lower()]
        for template, methods in document()["paths"].items()
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/:]+", re.escape(template)), path) and method.lower() in methods
    )
    if body is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.validate(json.loads(body), {**schema, "components": document()["components"]})


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in ("", "sh", "text")], ids=str)
def test_requests_are_taken_by_the_api(block: Block) -> None:
    for words in block.commands():
        if words[0] == "curl":
            (address,) = (word for word in words if word.startswith("http"))
            body = words[words.index("-d") + 1] if "-d" in words else None
            check_request(
                words[words.index("-X") + 1] if "-X" in words else "GET", address[address.index("/v1") :], body
            )
    for method, path, body in re.findall(
        r"^(GET|POST|PATCH|DELETE) (/\S+)\s*(\{.*\})?$", block.text, flags=re.MULTILINE
    ):
        check_request(method, path, body or None)


@kind("json")
def test_json_can_be_read(block: Block) -> None:
    assert isinstance(json.loads(block.text), dict)


@kind("toml")
def test_toml_declares_workloads(block: Block) -> None:
    declared = tomllib.loads(block.text)

    assert set(declared["project"]["entry-points"]) == {ENTRY_POINT_GROUP}


@kind("sql")
def test_statements_can_be_parsed(block: Block) -> None:
    sqlglot.parse(block.text.replace("10.0.0.%", "localhost"), read="postgres")


@kind("promql")
def test_metrics_exist(block: Block) -> None:
    told = set(re.findall(r"`(tunewright_\w+)`", (ROOT / block.page).read_text()))
    named = {re.sub("_(bucket|count|sum)$", "", name) for name in re.findall(r"tunewright_\w+", block.text)}

    assert named
    assert named <= told
