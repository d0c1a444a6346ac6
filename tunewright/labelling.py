"""The client's methods about labellings, in which people answer a model's questions about a graph's nodes.

`LabellingCalls` belongs to `Client`, `AsyncLabellingCalls` to `AsyncClient`.

    with Client() as client:
        made = client.create_labelling(dataset="citeseer")
        while (asked := client.next_question(made.id).question) is not None:
            client.answer_question(made.id, asked.number, input(f"{asked.node} {asked.class_name}? "))
"""

from __future__ import annotations

import json
import uuid
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import TypeAdapter

from tunewright._requests import Call
from tunewright.labelling_views import Answered, LabellingSpec, LabellingView, LabelsView, NextQuestion

T = TypeVar("T")

_PATH = "/v1/labellings"
_LABELLING = TypeAdapter(LabellingView)
_NEXT = TypeAdapter(NextQuestion)
_LABELS = TypeAdapter(LabelsView)


def _create(fields: dict[str, Any]) -> Call[LabellingView]:
    # Checked here; defaults stay out, so that a service which does not know the newest fields still takes it.
    body = LabellingSpec(**fields).model_dump_json(exclude_defaults=True)
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    return Call("POST", _PATH, _LABELLING, headers=headers, body=body)


def _of(labelling: str, part: str) -> str:
    return f"{_PATH}/{quote(labelling, safe='')}/{part}"


def _next(labelling: str) -> Call[NextQuestion]:
    return Call("GET", _of(labelling, "next"), _NEXT)


def _answer(labelling: str, question: int, answer: Answered, replace: bool) -> Call[NextQuestion]:
    body = json.dumps({"question": question, "answer": answer, "replace": replace})
    return Call("POST", _of(labelling, "answer"), _NEXT, body=body)


def _labels(labelling: str) -> Call[LabelsView]:
    return Call("GET", _of(labelling, "labels"), _LABELS)


class LabellingCalls:
    """Labelling a graph with people."""

    def create_labelling(self, **fields: Any) -> LabellingView:
        """Begin to label a graph.

        Args:
            fields: of `LabellingSpec`, such as `dataset` and `classes`.
        Raises:
            pydantic.ValidationError: a field is wrong, seen from here.
            ApiError: the graph cannot be had, or has another number of classes.
        """
        return self._send(_create(fields))

    def next_question(self, labelling: str) -> NextQuestion:
        """The first question that nobody has answered."""
        return self._send(_next(labelling))

    def answer_question(
        self, labelling: str, question: int, answer: Answered, *, replace: bool = False
    ) -> NextQuestion:
        """Answer a question, and get the next one.

        Args:
            replace: change an answer that was given before.
        Raises:
            ApiError: there is no such question, or it has another answer.
        """
        return self._send(_answer(labelling, question, answer, replace))

    def labels(self, labelling: str) -> LabelsView:
        """The classes that the answers have made known."""
        return self._send(_labels(labelling))

    def _send(self, call: Call[T]) -> T:
        raise NotImplementedError


class AsyncLabellingCalls:
    """`LabellingCalls`, to be awaited."""

    async def create_labelling(self, **fields: Any) -> LabellingView:
        """As `Client.create_labelling`."""
        return await self._send(_create(fields))

    async def next_question(self, labelling: str) -> NextQuestion:
        """As `Client.next_question`."""
        return await self._send(_next(labelling))

    async def answer_question(
        self, labelling: str, question: int, answer: Answered, *, replace: bool = False
    ) -> NextQuestion:
        """As `Client.answer_question`."""
        return await self._send(_answer(labelling, question, answer, replace))

    async def labels(self, labelling: str) -> LabelsView:
        """As `Client.labels`."""
        return await self._send(_labels(labelling))

    async def _send(self, call: Call[T]) -> T:
        raise NotImplementedError
