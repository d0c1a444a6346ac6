"""Studies before and after they are submitted: checking a draft, and the texts that submit another one."""

from __future__ import annotations

from fastapi import APIRouter, Request

from service import drafts, recipes
from service.api.dependencies import CallerDep, ServicesDep, read
from service.drafts import CheckedDraft, Draft
from service.json_body import JsonRoute
from service.problems import answers
from service.recipes import Recipe

router = APIRouter(prefix="/v1", tags=["studies"], route_class=JsonRoute)


@router.post("/studies:validate", responses=answers(413, 415))
def validate_study(draft: Draft, services: ServicesDep, caller: CallerDep) -> CheckedDraft:
    """Check a study as if it were submitted. Nothing is stored, and what is wrong is no failure of this request."""
    return drafts.check(services, caller, draft)


@router.get("/studies/{study_id}/recipe", responses=answers(404))
async def get_recipe(study_id: str, request: Request, services: ServicesDep) -> Recipe:
    """Texts that submit another study like this one: in Python, in a shell, and by curl."""
    study = await read(services, services.repository.study, study_id)
    return recipes.of(study.spec, str(request.base_url).rstrip("/"))
