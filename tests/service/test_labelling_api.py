"""Labellings over REST: what is asked and in which order, what answers come to, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.graphs import load
from service import labelling as engine_room
from tests.service.access import bearer, make_token
from tests.service.conftest import Service, sqlite_only
from tunewright.access import Scope

NAMES = ["red", "green", "blue"]
PATH = "/v1/labellings"


def begin(service: Service, **fields: Any) -> dict[str, Any]:
    answer = service.client.post(PATH, json={"dataset": "sbm", "classes": NAMES, "batch": 4, **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def following(service: Service, labelling: dict[str, Any]) -> dict[str, Any]:
    answer = service.client.get(f"{PATH}/{labelling['id']}/next")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def send(service: Service, labelling: dict[str, Any], number: int, said: str, **fields: Any) -> Any:
    path = f"{PATH}/{labelling['id']}/answer"
    return service.client.post(path, json={"question": number, "answer": said, **fields})


def truth(question: dict[str, Any]) -> str:
    return "yes" if NAMES[load("sbm").labels[question["node"]]] == question["class_name"] else "no"


def label(service: Service, labelling: dict[str, Any], count: int, said: Callable[[Any], str] = truth) -> list[Any]:
    """Answer so many questions; what was asked."""
    asked = [following(service, labelling)["question"]]
    for _ in range(count):
        answer = send(service, labelling, asked[-1]["number"], said(asked[-1]))
        assert answer.status_code == 200, answer.text
        asked.append(answer.json()["question"])
    return asked


def test_a_labelling_asks_learns_and_tells_what_is_known(service: Service) -> None:
    labelling = begin(service)

    asked = label(service, labelling, 60)

    shown = service.client.get(f"{PATH}/{labelling['id']}").json()
    known = service.client.get(f"{PATH}/{labelling['id']}/labels").json()
    labels = load("sbm").labels
    assert [question["number"] for question in asked] == list(range(61))
    assert shown["answers"]["yes"] + shown["answers"]["no"] == 60
    assert all(NAMES[labels[item["node"]]] == item["class_name"] for item in known["items"])
    assert len(known["items"]) >= shown["answers"]["yes"]
    # It has learnt: late questions are confirmed far more often than the first, which are guesses.
    late = [truth(question) for question in asked[-25:]]
    assert late.count("yes") > 15
    assert [item["id"] for item in service.client.get(PATH).json()["items"]] == [labelling["id"]]


def test_a_question_shows_what_there_is_to_see_of_the_node(service: Service) -> None:
    labelling = begin(service)
    asked = label(service, labelling, 30)

    question = asked[-1]

    graph = load("sbm")
    around = graph.indices[graph.indptr[question["node"]] : graph.indptr[question["node"] + 1]].tolist()
    assert {neighbour["node"] for neighbour in question["neighbours"]} <= set(around)
    assert {neighbour["class_name"] for neighbour in question["neighbours"]} <= {None, *NAMES}
    assert 0 < question["likelihood"] <= 1
    for feature in question["features"]:
        assert feature["value"] == pytest.approx(float(graph.features[question["node"], feature["column"]]))


def test_the_open_question_stays_until_it_is_answered_and_answers_may_be_repeated(service: Service) -> None:
    labelling = begin(service)
    first = following(service, labelling)["question"]

    assert following(service, labelling)["question"] == first
    once, twice = (send(service, labelling, 0, "no") for _ in range(2))

    assert once.json() == twice.json()
    assert once.json()["question"]["number"] == 1


def test_another_answer_is_refused_unless_it_is_to_replace_the_first(service: Service) -> None:
    labelling = begin(service)
    (first, *_) = label(service, labelling, 1, lambda question: "no")

    refused = send(service, labelling, 0, "yes")
    replaced = send(service, labelling, 0, "yes", replace=True)

    assert (refused.status_code, replaced.status_code) == (409, 200)
    assert refused.json()["detail"] == "question 0 was answered no already; send replace to change that"
    known = service.client.get(f"{PATH}/{labelling['id']}/labels").json()["items"]
    assert known == [{"node": first["node"], "class_name": first["class_name"]}]


def test_no_answer_is_lost_when_the_service_is_another_one(service: Service) -> None:
    labelling = begin(service)
    label(service, labelling, 6)
    engine = service.repository.engine
    before = engine_room.following(engine, labelling["id"])

    # Nothing of a labelling is in memory but what can be made again.
    engine_room.human._terrain.cache_clear()

    assert engine_room.following(engine, labelling["id"]) == before
    assert before.question is not None
    assert before.question.number == 6


def test_several_people_who_ask_at_once_are_asked_the_same(service: Service) -> None:
    labelling = begin(service)
    engine = service.repository.engine

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: engine_room.following(engine, labelling["id"]), range(4)))

    assert all(each == found[0] for each in found)


@sqlite_only
def test_skipped_nodes_are_not_asked_again_and_a_labelling_comes_to_its_end(service: Service) -> None:
    labelling = begin(service, batch=100)

    asked = label(service, labelling, 300, lambda question: "skip")

    assert len({question["node"] for question in asked[:-1]}) == 300
    assert asked[-1] is None
    assert service.client.get(f"{PATH}/{labelling['id']}/labels").json() == {"items": [], "contradictions": 0}


@sqlite_only
def test_a_person_who_contradicts_themselves_is_counted_and_the_node_left_out(service: Service) -> None:
    labelling = begin(service, batch=100)
    asked = label(service, labelling, 400, lambda question: "no")
    nodes = [question["node"] for question in asked[:-1]]
    node = next(node for node in nodes if nodes.count(node) == 2)

    for number in (place for place, other in enumerate(nodes) if other == node):
        assert send(service, labelling, number, "yes", replace=True).status_code == 200

    found = service.client.get(f"{PATH}/{labelling['id']}/labels").json()
    assert found["contradictions"] == 1
    assert node not in [item["node"] for item in found["items"]]


@sqlite_only
def test_the_classes_of_training_nodes_can_be_known_from_the_start(service: Service) -> None:
    labelling = begin(service, from_train=True)

    known = service.client.get(f"{PATH}/{labelling['id']}/labels").json()["items"]

    assert [item["node"] for item in known] == load("sbm").train.tolist()
    assert following(service, labelling)["question"]["node"] not in load("sbm").train


@sqlite_only
@pytest.mark.parametrize("known", [0, 1])
def test_a_graph_without_labels_is_labelled_from_nothing(service: Service, tmp_path: Path, known: int) -> None:
    graph = load("sbm")
    labels = np.where(np.arange(graph.n) < known, graph.labels, -1)
    rows = np.repeat(np.arange(graph.n), graph.degrees)
    np.savez(tmp_path / "bare.npz", edges=np.stack([rows, graph.indices]), features=graph.features, labels=labels)
    labelling = begin(service, dataset=f"file:{tmp_path}/bare.npz", from_train=True)

    asked = label(service, labelling, 60)

    found = service.client.get(f"{PATH}/{labelling['id']}/labels").json()["items"]
    assert all(NAMES[graph.labels[item["node"]]] == item["class_name"] for item in found)
    assert len({item["class_name"] for item in found}) == 3
    assert [truth(question) for question in asked[-25:]].count("yes") > 15


@sqlite_only
@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"dataset": "nope"}, "dataset", "dataset: 'nope' is unknown; known: cora"),
        ({"dataset": "file:/nowhere/graph.npz"}, "dataset", "dataset: "),
        ({"dataset": "file:"}, "dataset", "dataset: "),
        ({"classes": ["a", "b"]}, "classes", "2 names for the 3 classes of sbm"),
        ({"classes": ["a", "b", "a"]}, "classes", "a name stands twice"),
        ({"classes": ["a", "b", "c\n"]}, "classes.2", "control characters"),
        ({"criterion": "best"}, "criterion", "igp"),
        ({"batch": 0}, "batch", "greater than or equal to 1"),
        ({"steps": 0}, "steps", "greater than or equal to 1"),
        ({"speed": 1}, "speed", ""),
    ],
)
def test_what_cannot_be_labelled_is_refused_by_its_field(
    shared_service: Service, fields: dict[str, Any], field: str, words: str
) -> None:
    answer = shared_service.client.post(PATH, json={"dataset": "sbm", "classes": NAMES, **fields})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert words in answer.json()["errors"][0]["message"]
    assert shared_service.client.get(PATH).json()["items"] == []


@sqlite_only
def test_answers_that_fit_no_question_are_refused(service: Service) -> None:
    labelling = begin(service)
    following(service, labelling)

    answers = [send(service, labelling, *sent) for sent in ((4, "yes"), (-1, "yes"), (0, "perhaps"))]

    assert [answer.status_code for answer in answers] == [422, 422, 422]
    assert "question: 4 was not asked in this labelling" in answers[0].json()["detail"]


@sqlite_only
def test_a_labelling_without_names_calls_classes_by_number_and_a_key_makes_one(service: Service) -> None:
    headers = {"Idempotency-Key": "k"}

    made = [service.client.post(PATH, json={"dataset": "sbm"}, headers=headers).json() for _ in range(2)]

    assert made[0] == made[1]
    assert made[0]["classes"] == ["class 0", "class 1", "class 2"]
    other = service.client.post(PATH, json={"dataset": "sbm", "batch": 3}, headers=headers)
    assert other.status_code == 409
    service.client.delete(f"{PATH}/{made[0]['id']}")
    again = service.client.post(PATH, json={"dataset": "sbm", "batch": 3}, headers=headers)
    assert (again.status_code, again.json()["id"] != made[0]["id"]) == (201, True)


def test_a_deleted_labelling_is_gone_with_its_questions(service: Service) -> None:
    labelling = begin(service)
    label(service, labelling, 2)

    assert service.client.delete(f"{PATH}/{labelling['id']}").status_code == 204

    for path in ("", "/next", "/labels"):
        assert service.client.get(f"{PATH}/{labelling['id']}{path}").status_code == 404
    assert send(service, labelling, 0, "yes").status_code == 404
    assert service.client.get(PATH).json()["items"] == []


@sqlite_only
def test_labellings_are_of_a_project_and_answers_need_the_scope_write(service: Service) -> None:
    a, b, reader = (
        bearer(make_token(service, scope, project))
        for scope, project in ((Scope.ADMIN, "a"), (Scope.ADMIN, "b"), (Scope.READ, "a"))
    )
    made = service.client.post(PATH, json={"dataset": "sbm"}, headers=a).json()
    path = f"{PATH}/{made['id']}"

    assert made["project"] == "a"
    assert [service.client.get(path, headers=headers).status_code for headers in (a, b, reader)] == [200, 404, 200]
    assert service.client.get(PATH, headers=b).json()["items"] == []
    sent = {"question": 0, "answer": "yes"}
    assert service.client.get(f"{path}/next", headers=reader).status_code == 200
    assert service.client.post(f"{path}/answer", json=sent, headers=reader).status_code == 403
    assert service.client.post(f"{path}/answer", json=sent, headers=b).status_code == 404
    assert service.client.post(f"{path}/answer", json=sent, headers=a).status_code == 200


@sqlite_only
def test_the_page_is_there_and_names_its_keys(shared_service: Service) -> None:
    answer = shared_service.client.get("/labelling")

    assert answer.status_code == 200
    for said, key in (("yes", "y"), ("no", "n"), ("skip", "s")):
        assert f'data-answer="{said}" aria-keyshortcuts="{key}"' in answer.text
    assert "labelling.js" in answer.text
