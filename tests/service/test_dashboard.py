"""The pages' HTML, headers and files, without a cluster behind them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from service import dashboard
from service.caller import LOCAL
from service.dashboard.static_files import BASIC_PLOTLY, DIRECTORY
from service.store.engine import migrate, open_engine
from service.store.repository import Repository
from tunewright.study import Resources, StudySpec, TrialLimits


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    engine = open_engine(f"sqlite:///{tmp_path / 'store.db'}")
    migrate(engine)
    yield Repository(engine)
    engine.dispose()


@pytest.fixture
def client(repository: Repository) -> TestClient:
    app = FastAPI()
    app.state.services = SimpleNamespace(repository=repository)
    dashboard.mount(app)

    async def let_in(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "caller": LOCAL}, receive, send)

    return TestClient(let_in)


def submit(repository: Repository, name: str) -> str:
    spec = {
        "name": name,
        "workload": "xgboost",
        "space": {"eta": {"type": "float", "low": 0.01, "high": 1.0}},
        "objectives": [{"metric": "loss"}],
        "fidelity": {"name": "rounds", "max": 9},
        "budget": {"trials": 3},
    }
    return repository.create_study(StudySpec.model_validate(spec)).id


def links(html: str) -> list[str]:
    return re.findall(r'(?:src|href|data-plotly)="(/(?:static|favicon)[^"]*)"', html)


def test_study_page_names_the_study_before_any_script_runs(client: TestClient, repository: Repository) -> None:
    study = submit(repository, "digits")

    page = client.get(f"/studies/{study}")

    assert page.status_code == 200
    assert "<title>digits · Tunewright</title>" in page.text
    assert 'data-state="queued">queued<' in page.text
    assert f'data-study="{study}"' in page.text


def test_names_are_escaped(client: TestClient, repository: Repository) -> None:
    study = submit(repository, '</title><script>alert("x")</script>')

    page = client.get(f"/studies/{study}").text

    assert '<script>alert("x")' not in page
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;" in page


def test_the_command_that_begins_a_labelling_is_for_this_service(client: TestClient) -> None:
    page = client.get("/labelling").text

    assert "curl http://testserver/v1/labellings " in page
    assert "Bearer $TUNEWRIGHT_TOKEN" in page


@pytest.mark.parametrize("study", ["unknown", "%3Cscript%3Ealert(1)"])
def test_unknown_study_is_a_page_of_its_own_with_status_404(client: TestClient, study: str) -> None:
    page = client.get(f"/studies/{study}")

    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "There is no such study" in page.text
    assert "<script>alert" not in page.text


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/trials/unknown", 404, "There is no such trial"),
        ("/trials/{study}-0", 404, "There is no such trial"),
        ("/trials/%3Cscript%3Ealert(1)-0", 404, "There is no such trial"),
        ("/compare", 422, "No study was named to compare"),
        ("/compare?study={study}", 422, "One study alone cannot be compared"),
        ("/compare?study={study}&study={study}", 422, "One study alone cannot be compared"),
        ("/compare?study={study}&study=unknown", 404, "There is no such study"),
        ("/compare?study=1&study=2&study=3&study=4&study=5&study=6&study=7", 422, "7 studies are too many"),
    ],
)
def test_pages_of_what_is_not_there_say_so(
    client: TestClient, repository: Repository, path: str, status: int, says: str
) -> None:
    page = client.get(path.format(study=submit(repository, "digits")))

    assert page.status_code == status
    assert says in page.text
    assert "<script>alert" not in page.text


def test_compared_studies_are_named_in_order_and_escaped(client: TestClient, repository: Repository) -> None:
    first, second = submit(repository, "<i>a</i>"), submit(repository, "b")

    page = client.get(f"/compare?study={second}&study={first}").text

    assert page.index(f'data-study="{second}"') < page.index(f'data-study="{first}"')
    assert "&lt;i&gt;a&lt;/i&gt;" in page


@pytest.mark.parametrize("path", ["/", "/studies", "/studies/{study}", "/studies/unknown", "/compare?study={study}"])
def test_pages_allow_no_inline_code_no_framing_and_no_other_origin(
    client: TestClient, repository: Repository, path: str
) -> None:
    page = client.get(path.format(study=submit(repository, "digits")))

    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "style=" not in page.text
    assert not re.search(r"<script(?![^>]*\ssrc=)", page.text)
    assert not re.search(r"\son[a-z]+=", page.text)
    assert "http://" not in page.text
    assert "https://" not in page.text


@pytest.mark.parametrize("path", ["/", "/studies", "/studies/{study}", "/compare"])
def test_everything_that_a_page_loads_exists_and_may_be_cached(
    client: TestClient, repository: Repository, path: str
) -> None:
    page = client.get(path.format(study=submit(repository, "digits")))

    found = links(page.text)
    assert found
    for link in found:
        file = client.get(link)
        assert file.status_code == 200, link
        assert "max-age=" in file.headers["cache-control"]
        assert file.headers["x-content-type-options"] == "nosniff"


def test_modules_import_only_modules_that_exist() -> None:
    for module in DIRECTORY.glob("*.js"):
        for imported in re.findall(r'from "([^"]+)"', module.read_text()):
            assert imported.startswith("./"), f"{module.name} imports {imported}"
            assert (DIRECTORY / imported).is_file(), f"{module.name} imports {imported}"


def test_the_form_has_every_number_of_a_study() -> None:
    form = (DIRECTORY / "study_sections.js").read_text()

    limits, resources = TrialLimits.model_fields, Resources.model_fields

    assert [name for name in limits if f'["limits", "{name}"]' not in form] == []
    assert [name for name in resources if f'["resources", "{name}"]' not in form] == []


def test_the_page_of_a_trial_has_words_for_every_rule_of_an_optimizer() -> None:
    words = (DIRECTORY / "trial_words.js").read_text()
    optimizers = "".join(module.read_text() for module in (Path(__file__).parents[2] / "optimizers").glob("*.py"))

    rules = re.findall(r'(?:"rule": |_draw\(rng, )"([^"]+)"', optimizers)

    assert len(rules) > 20
    assert {rule for rule in rules if not re.search(rf'^  "?{rule}"?: ', words, re.MULTILINE)} == set()


def test_plotly_comes_under_its_version(client: TestClient, repository: Repository) -> None:
    page = client.get(f"/studies/{submit(repository, 'digits')}/plots").text
    link = next(link for link in links(page) if "plotly.min.js" in link)

    with client.stream("GET", link, headers={"Accept-Encoding": "gzip"}) as packed:
        body = gzip.decompress(b"".join(packed.iter_raw()))
    plain = client.get(link, headers={"Accept-Encoding": "identity"})

    assert re.search(r"\?v=\d+\.\d+", link)
    assert packed.headers["content-encoding"] == "gzip"
    assert "immutable" in packed.headers["cache-control"]
    assert plain.content == body
    assert b"plotly.js v" in body[:200]
    assert client.get("/static/vendor/other.js").status_code == 404


def test_the_page_of_a_study_loads_the_part_of_plotly_that_it_draws_with(
    client: TestClient, repository: Repository
) -> None:
    page = client.get(f"/studies/{submit(repository, 'digits')}").text
    (link,) = {link for link in links(page) if "/vendor/" in link}

    assert BASIC_PLOTLY.url == link
    # The same release as the whole, whose version the package on this machine decides.
    assert release(client.get(link).text) == release(client.get("/static/vendor/plotly.min.js").text)


def release(plotly: str) -> str:
    found = re.search(r"v(\d+\.\d+\.\d+)", plotly[:200])
    assert found is not None
    return found[1]


@pytest.mark.parametrize("tail", ["", "/plots"])
def test_a_page_stands_in_for_every_style_element_that_plotly_would_add(
    client: TestClient, repository: Repository, tail: str
) -> None:
    page = client.get(f"/studies/{submit(repository, 'digits')}{tail}").text
    plotly = client.get(next(link for link in links(page) if "/vendor/" in link)).text

    guards = re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly)
    assert guards or tail == ""
    assert all(f'id="{guard}"' in page for guard in guards)
    assert 'id="plotly.js-style-global" class="no-inline-styles"' in page
    assert ".no-inline-styles" in plotly
    assert '"plotly.js-style-"' in plotly


def test_static_directory_serves_nothing_outside_of_itself(client: TestClient) -> None:
    assert client.get(f"{dashboard.STATIC_URL}/../__init__.py").status_code == 404
    assert client.get(f"{dashboard.STATIC_URL}/%2e%2e/__init__.py").status_code == 404
