"""The wheel, in an environment of its own with nothing but what it declares: it imports, and the first page works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.docs.pages import BLOCKS, ROOT
from tests.e2e.service_process import descendants, free_port, kill
from tunewright.cli.serve import READY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOMS = ("tunewright", "optimizers", "models", "db_knobs", "workers", "service")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a new sdist and a new wheel."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run([ROOT / "scripts" / "package", sys.executable, directory], cwd=ROOT, check=True)
    return directory


@pytest.fixture(scope="module")
def wheel(packages: Path) -> Path:
    (wheel,) = packages.glob("*.whl")
    return wheel


def closure(requirements: list[str]) -> dict[str, Distribution]:
    """What an installation of these would bring, of what is installed here."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            known = found[requirement.name] = distribution(requirement.name)
        except PackageNotFoundError:
            pytest.skip(f"{requirement.name} is not installed: make the environment anew")
        assert requirement.specifier.contains(known.version, prereleases=True), (requirement, known.version)
        for wanted in {"", *requirement.extras}:
            if (requirement.name, wanted) not in seen:
                seen.add((requirement.name, wanted))
                waiting += [(Requirement(text), wanted) for text in known.requires or ()]
    return found


def environment(directory: Path, wheel: Path, requirements: list[str]) -> Path:
    """A virtual environment with the wheel, and links to those packages that its metadata asks for; its `bin`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    (site,) = directory.glob("lib/python*/site-packages")
    for found in closure(requirements).values():
        for name in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / name).exists():
                (site / name).symlink_to(Path(str(found.locate_file(name))))
    install = [sys.executable, "-m", "pip", "--python", directory / "bin" / "python", "install"]
    subprocess.run([*install, "--no-deps", "--no-index", "--quiet", wheel], check=True)
    return directory / "bin"


def variables(bin: Path, **more: str) -> Mapping[str, str]:
    """The caller's environment without what leads back to the checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TUNEWRIGHT_"))}
    return {**kept, "PATH": f"{bin}:{os.environ['PATH']}", **more}


def test_the_wheel_has_every_file_of_the_rooms(wheel: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", *ROOMS], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert set(tracked.split()) - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_sdist_has_every_tracked_file(packages: Path) -> None:
    (archive,) = packages.glob("*.tar.gz")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout

    with tarfile.open(archive) as found:
        names = {name.partition("/")[2] for name in found.getnames()}

    assert set(tracked.split()) - names == set()


def test_a_training_project_needs_nothing_but_the_declared_dependencies(wheel: Path, tmp_path: Path) -> None:
    bin = environment(tmp_path / "env", wheel, PROJECT["dependencies"])

    done = subprocess.run(
        [bin / "python", "-c", "import tunewright, sys; print(tunewright.__file__, 'ray' in sys.modules)"],
        env=variables(bin),
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    shown = subprocess.run([bin / "tunewright", "--help"], env=variables(bin), cwd=tmp_path, capture_output=True)

    assert done.stdout.startswith(str(tmp_path))
    assert done.stdout.endswith("False\n")
    assert shown.returncode == 0, shown.stderr


@pytest.fixture
def server(wheel: Path, tmp_path: Path) -> Path:
    return environment(tmp_path / "env", wheel, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["server"])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty directory; whatever was started in it is ended."""
    place = tmp_path / "project"
    place.mkdir()
    before = set(descendants(os.getpid()))
    yield place
    for left in set(descendants(os.getpid())) - before:
        kill(left.pid)


def test_the_first_page_tunes_a_script_for_whoever_follows_it(server: Path, place: Path) -> None:
    port = str(free_port())
    environ = variables(
        server,
        HOME=str(place.parent),
        TUNEWRIGHT_PORT=port,
        TUNEWRIGHT_URL=f"http://127.0.0.1:{port}",
        TUNEWRIGHT_RAY_TEMP_DIR=f"/tmp/tw-first-{os.getpid()}",
        TUNEWRIGHT_RAY_CPUS="2",
    )
    said = []
    for block in (block for block in BLOCKS if block.page == "docs/first-study.md" and block.reason is None):
        if block.file is not None:
            (place / block.file).write_text(block.text)
        elif block.text == "tunewright serve\n":
            serve = subprocess.Popen(block.text.split(), cwd=place, env=environ, stdout=subprocess.PIPE, text=True)
            assert serve.stdout is not None
            assert any(line.startswith(READY) for line in serve.stdout)
        else:
            done = subprocess.run(
                ["sh", "-e", "-c", block.text], cwd=place, env=environ, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == 0, (block.text, done.stdout, done.stderr)
            said.append(done.stdout)

    untuned, _, results = said
    assert untuned.count('{"resource": ') == 9
    assert "completed" in results
    assert "error" in results
    serve.send_signal(signal.SIGINT)
    serve.wait(60)
