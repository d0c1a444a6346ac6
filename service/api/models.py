"""Trained recommenders: scores of given items, and the best items of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from models.recsys.asked import UNKNOWN, Asked
from service.api.dependencies import ServicesDep
from service.json_body import JsonRoute
from service.problems import answers
from service.serving import TooManyWaiting
from workers.model_server import ServerLost

MAX_REQUESTS = 256
MAX_ITEMS = 1_000
MAX_COUNT = 500

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=JsonRoute)

_Number = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScoreRequest(_Body):
    """Who asks for what, and which items are to be scored. Users, queries and items go by their number in the training
    data; an unknown one, or null, is answered as a stranger."""

    user: _Number | None = None
    query: _Number | None = None
    items: Annotated[list[_Number], Field(min_length=1, max_length=MAX_ITEMS)]


class RecommendRequest(_Body):
    """Who asks for what, and how many items are wanted.

    Attributes:
        fresh: leave out what the user clicked in the training data.
    """

    user: _Number | None = None
    query: _Number | None = None
    count: Annotated[int, Field(strict=True, ge=1, le=MAX_COUNT)] = 10
    fresh: bool = True


class ScoreBody(_Body):
    """Requests that are answered together."""

    requests: Annotated[list[ScoreRequest], Field(min_length=1, max_length=MAX_REQUESTS)]


class RecommendBody(_Body):
    """Requests that are answered together."""

    requests: Annotated[list[RecommendRequest], Field(min_length=1, max_length=MAX_REQUESTS)]


class ModelAnswer(BaseModel):
    """Items and the probabilities that they are clicked: in the order asked for, or the best first.

    Attributes:
        known_user, known_query: whether the training data have them; the answer rests on what is left otherwise.
    """

    items: list[int]
    scores: list[float]
    known_user: bool
    known_query: bool


class ModelAnswers(BaseModel):
    """One answer for each request, in their order."""

    answers: list[ModelAnswer]


@router.post("/{trial_id}:score", responses=answers(404, 409, 413, 415))
async def score_items(trial_id: str, body: ScoreBody, services: ServicesDep) -> ModelAnswers:
    """Score items for requests, by the model that a trial of `recsys.zoomer` has trained."""
    asked = [Asked(_known(one.user), _known(one.query), tuple(one.items)) for one in body.requests]
    return await _answered(services, trial_id, asked)


@router.post("/{trial_id}:recommend", responses=answers(404, 409, 413, 415))
async def recommend_items(trial_id: str, body: RecommendBody, services: ServicesDep) -> ModelAnswers:
    """Recommend items for requests, by the model that a trial of `recsys.zoomer` has trained."""
    asked = [Asked(_known(one.user), _known(one.query), count=one.count, fresh=one.fresh) for one in body.requests]
    return await _answered(services, trial_id, asked)


def _known(number: int | None) -> int:
    return UNKNOWN if number is None else number


async def _answered(services: ServicesDep, trial: str, asked: Sequence[Asked]) -> ModelAnswers:
    try:
        found = await services.models.answer(trial, asked)
    except (ServerLost, TooManyWaiting) as error:
        raise HTTPException(503, f"model {trial[:100]}: {error}", headers={"Retry-After": "1"}) from error
    return ModelAnswers(
        answers=[
            ModelAnswer.model_construct(
                items=one.items, scores=one.scores, known_user=one.known_user, known_query=one.known_query
            )
            for one in found
        ]
    )
