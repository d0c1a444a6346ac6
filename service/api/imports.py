"""Studies from elsewhere."""

from __future__ import annotations

import errno
import io
import tempfile
from asyncio import to_thread
from typing import IO

from fastapi import APIRouter, HTTPException, Request

from service.api.dependencies import CallerDep, ServicesDep
from service.importing import import_document
from service.json_body import require_json
from service.problems import answers
from tunewright.views import Study

PATH = "/v1/studies/import"
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["format", "version", "study", "trials"],
                    "properties": {
                        "format": {"const": "tunewright-study"},
                        "version": {"const": 1},
                        "study": {"type": "object", "description": "`spec`, and how the study went"},
                        "trials": {"type": "array", "items": {"type": "object"}},
                    },
                }
            }
        },
    }
}

router = APIRouter(tags=["studies"])


@router.post(PATH, status_code=201, responses=answers(413, 415, 507), openapi_extra=_BODY)
async def import_study(request: Request, services: ServicesDep, caller: CallerDep) -> Study:
    """Import a study that was exported as JSON, or results from elsewhere in the same form.

    It is over: its trials can warm-start other studies, and it can be extended where its workload is known.
    """
    require_json(request)
    project = caller.project_for(None)
    try:
        with tempfile.TemporaryFile(dir=services.settings.data_dir) as file:
            async for piece in request.stream():
                file.write(piece)
            study = await to_thread(_read, services, file, project)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise HTTPException(507, "the disk of data_dir is full; nothing was changed") from error
    return await to_thread(services.repository.study, study)


def _read(services: ServicesDep, file: IO[bytes], project: str) -> str:
    file.seek(0)
    with io.TextIOWrapper(file, encoding="utf-8") as text:
        return import_document(services.repository.engine, text, project)
