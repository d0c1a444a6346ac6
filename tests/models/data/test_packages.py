"""Data from packages: fetched once, checked against the pin, extracted whole or not at all."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from models.data import packages
from models.data.packages import CACHE_VARIABLE, OFFLINE_VARIABLE, Package, files
from tunewright.errors import WorkloadError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(OFFLINE_VARIABLE, raising=False)
    return tmp_path / "cache"


def wheel(members) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return sink.getvalue()


def source_archive(members) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return sink.getvalue()


def package(content: bytes, **fields) -> Package:
    return Package("thing", "1.0", hashlib.sha256(content).hexdigest(), "MIT", "somewhere", **fields)


@pytest.fixture
def index(monkeypatch):
    """A package index that gives the bytes it is set to; counts how often it is asked."""

    class Index:
        content, asked, commands = b"", 0, []

        def run(self, command, **kwargs):
            self.asked += 1
            self.commands.append(command)
            folder = command[command.index("--dest") + 1]
            with open(f"{folder}/thing-1.0.whl", "wb") as file:
                file.write(self.content)

    made = Index()
    monkeypatch.setattr(packages.subprocess, "run", made.run)
    return made


def test_a_folder_is_fetched_once_and_nothing_else_is_taken_out(index, cache):
    index.content = wheel({"thing/data/a.txt": "A", "thing/data/deep/b.txt": "B", "thing/code.py": "raise"})

    first = files(package(index.content), "thing/data")
    again = files(package(index.content), "thing/data")

    assert first == again
    assert (first / "a.txt").read_text() == "A"
    assert (first / "deep/b.txt").read_text() == "B"
    assert not list(cache.rglob("code.py"))
    assert index.asked == 1


def test_origin_and_licence_stand_beside_the_files(index):
    index.content = wheel({"d/x": "1"})

    folder = files(package(index.content), "d")

    assert (folder.parent / packages.ORIGIN_FILE).read_text() == "thing==1.0: somewhere\nLicence: MIT\n"
    assert [path.name for path in folder.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("module", "page"),
    [
        ("models.data.citations", "graph-learning"),
        ("models.data.corpora", "mixture-of-experts"),
        ("models.data.edges", "walks"),
        ("models.data.text", "prompt-tuning"),
        ("models.ipt.backbone", "prompt-tuning"),
        ("models.data._interaction_files", "recommenders"),
        ("models.data._interaction_files", "autorecsys"),
    ],
)
def test_the_handbook_tells_the_licence_of_what_packages_carry(module, page):
    told = " ".join((Path(__file__).parents[3] / "docs" / f"{page}.md").read_text().split())

    carried = [each for each in vars(importlib.import_module(module)).values() if isinstance(each, Package)]

    assert carried
    assert all(each.licence in told for each in carried)


def test_a_second_folder_of_the_same_package_needs_no_second_fetch(index):
    index.content = wheel({"thing/a/x": "1", "thing/b/y": "2"})

    files(package(index.content), "thing/a")

    assert (files(package(index.content), "thing/b") / "y").read_text() == "2"
    assert index.asked == 1


def test_tags_and_the_kind_of_file_reach_pip(index):
    index.content = wheel({"d/x": "1"})

    files(package(index.content, python="3.10", platform="any_platform"), "d")

    (command,) = index.commands
    assert command[command.index("--python-version") + 1] == "3.10"
    assert command[command.index("--platform") + 1] == "any_platform"
    assert "--only-binary" in command


def test_a_source_archive_is_read_below_its_root_folder(index):
    index.content = source_archive({"thing-1.0/d/x": "1", "thing-1.0/setup.py": "raise"})

    assert (files(package(index.content, sdist=True), "d") / "x").read_text() == "1"


def test_another_file_than_the_pinned_one_is_refused_and_not_kept(index, cache):
    index.content = wheel({"d/x": "1"})
    pinned = package(b"other")

    with pytest.raises(WorkloadError, match=r"another file for thing==1\.0 than the pinned one"):
        files(pinned, "d")

    assert not list(cache.rglob("*.whl"))
    assert not list(cache.rglob("x"))


BACKEND = """
from pathlib import Path

Path({marker!r}).touch()


def prepare_metadata_for_build_wheel(directory, settings=None):
    folder = Path(directory) / "thing-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0\\n")
    return folder.name


def build_wheel(*_):
    raise NotImplementedError
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.mark.parametrize("right", [True, False], ids=["pinned", "another"])
def test_pip_runs_the_build_script_of_the_pinned_source_archive_alone(right, tmp_path, monkeypatch):
    marker, shelf = tmp_path / "it ran", tmp_path / "shelf"
    shelf.mkdir()
    content = source_archive(
        {
            "thing-1.0/PKG-INFO": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
            "thing-1.0/pyproject.toml": PROJECT,
            "thing-1.0/backend.py": BACKEND.format(marker=str(marker)),
            "thing-1.0/d/x": "1",
        }
    )
    (shelf / "thing-1.0.tar.gz").write_bytes(content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

    if right:
        assert (files(package(content, sdist=True), "d") / "x").read_text() == "1"
    else:
        with pytest.raises(WorkloadError, match=r"another file for thing==1\.0 than the pinned one"):
            files(package(b"other", sdist=True), "d")

    assert marker.exists() == right


def test_a_prefix_that_is_not_there_is_named(index):
    index.content = wheel({"d/x": "1"})

    with pytest.raises(WorkloadError, match="holds nothing under 'e'"):
        files(package(index.content), "e")


def test_members_that_climb_out_of_the_folder_are_left_out(index, cache):
    index.content = wheel({"d/x": "1", "d/../../escaped": "2"})

    files(package(index.content), "d")

    assert not list(cache.parent.rglob("escaped"))


def test_offline_nothing_is_asked_and_the_way_out_is_told(index, monkeypatch, cache):
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")

    with pytest.raises(WorkloadError, match=r"thing==1\.0 is not in the cache and TUNEWRIGHT_OFFLINE is set"):
        files(package(b"content"), "d")

    assert index.asked == 0


def test_a_file_that_was_put_into_the_cache_by_hand_is_used(index, monkeypatch, cache):
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    content = wheel({"d/x": "1"})
    (cache / "archives").mkdir(parents=True)
    (cache / "archives" / "any name.whl").write_bytes(content)

    assert (files(package(content), "d") / "x").read_text() == "1"


def test_a_failed_fetch_says_why_and_how_to_do_it_by_hand(monkeypatch):
    def run(command, **kwargs):
        raise subprocess.CalledProcessError(1, command, stderr="looking\nERROR: no such version\n")

    monkeypatch.setattr(packages.subprocess, "run", run)

    with pytest.raises(WorkloadError, match=r"could not fetch thing==1\.0: ERROR: no such version; .*another machine"):
        files(package(b"content"), "d")


def test_an_extraction_that_fails_leaves_nothing_half_done(index, cache, monkeypatch):
    index.content = wheel({"d/x": "1", "d/y": "2"})

    def broken(source, sink):
        sink.write(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(packages.shutil, "copyfileobj", broken)
        with pytest.raises(OSError, match="disk full"):
            files(package(index.content), "d")
    assert not list(cache.rglob("x"))

    assert (files(package(index.content), "d") / "x").read_text() == "1"


def test_a_folder_is_whole_though_one_within_it_was_asked_for_before(index):
    index.content = wheel({"thing/data/a.txt": b"one", "thing/data/inner/b.txt": b"two"})
    thing = package(index.content)

    files(thing, "thing/data/inner")

    assert (files(thing, "thing/data") / "a.txt").read_bytes() == b"one"
    assert (files(thing, "thing/data") / "inner" / "b.txt").read_bytes() == b"two"


def test_what_a_killed_process_left_is_removed_after_a_day_and_what_one_works_on_is_not(index, cache):
    index.content = wheel({"d/x": "1"})
    wanted = package(index.content)
    home = files(wanted, "d").parent
    places = [cache / "archives" / "fetching-", home / "extracting-"]
    now, long_ago = time.time(), time.time() - 2 * 86_400
    for place in places:
        for kind, made, written in (("begun", now, now), ("left", long_ago, long_ago), ("slow", long_ago, now)):
            directory = place.with_name(f"{place.name}{kind}")
            directory.mkdir()
            (directory / "half").write_bytes(b"half")
            os.utime(directory / "half", (written, written))
            os.utime(directory, (made, made))

    files(wanted, "d")

    assert sorted(path.parent.name for path in cache.rglob("half")) == [
        "extracting-begun",
        "extracting-slow",
        "fetching-begun",
        "fetching-slow",
    ]
