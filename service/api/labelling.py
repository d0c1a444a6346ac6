"""Labellings: people answer a model's questions about a graph's nodes, and it learns which to ask next."""

from __future__ import annotations

from asyncio import to_thread

from fastapi import APIRouter

from models.active.human import Answer
from service import labelling
from service.api.dependencies import CallerDep, Cursor, Limit, ServicesDep, read
from service.api.submission import IdempotencyKey, request_key
from service.json_body import JsonRoute
from service.problems import answers
from service.store import labelling as store
from tunewright.access import ProjectName
from tunewright.labelling_views import AnswerSent, LabellingSpec, LabellingView, LabelsView, NextQuestion
from tunewright.views import Page

router = APIRouter(prefix="/v1/labellings", tags=["labellings"], route_class=JsonRoute)


@router.post("", status_code=201, responses=answers(409, 413, 415, 507))
async def create_labelling(
    spec: LabellingSpec, services: ServicesDep, caller: CallerDep, idempotency_key: IdempotencyKey = None
) -> LabellingView:
    """Begin to label a graph. Its data are fetched if they are not here yet."""
    project = caller.project_for(spec.project)
    complete = spec.model_copy(update={"project": project})
    key = request_key(caller, idempotency_key, "labelling", complete.model_dump(mode="json"))
    return await to_thread(labelling.begin, services.repository.engine, project, complete, key)


@router.get("")
async def list_labellings(
    services: ServicesDep,
    caller: CallerDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    project: ProjectName | None = None,
) -> Page[LabellingView]:
    """Labellings, newest first."""
    engine = services.repository.engine
    return await read(services, store.page, engine, limit=limit, cursor=cursor, project=caller.confined(project))


@router.get("/{labelling_id}", responses=answers(404))
async def get_labelling(labelling_id: str, services: ServicesDep) -> LabellingView:
    """One labelling, and how far it is."""
    return await read(services, store.view, services.repository.engine, labelling_id)


@router.delete("/{labelling_id}", status_code=204, responses=answers(404, 507))
def delete_labelling(labelling_id: str, services: ServicesDep) -> None:
    """Delete a labelling with all its answers."""
    store.remove(services.repository.engine, labelling_id)


@router.get("/{labelling_id}/next", responses=answers(404, 507))
async def get_next_question(labelling_id: str, services: ServicesDep) -> NextQuestion:
    """The first question that nobody has answered. The same until it is answered, also for somebody else."""
    return await to_thread(labelling.following, services.repository.engine, labelling_id)


@router.post("/{labelling_id}/answer", responses=answers(404, 409, 413, 415, 507))
async def answer_question(labelling_id: str, sent: AnswerSent, services: ServicesDep) -> NextQuestion:
    """Answer a question, and get the next one. The same answer again changes nothing; another one needs `replace`."""
    engine = services.repository.engine
    return await to_thread(
        labelling.answer, engine, labelling_id, sent.question, Answer(sent.answer), replace=sent.replace
    )


@router.get("/{labelling_id}/labels", responses=answers(404))
async def list_labels(labelling_id: str, services: ServicesDep) -> LabelsView:
    """The classes that the answers have made known."""
    return await to_thread(labelling.labels, services.repository.engine, labelling_id)
