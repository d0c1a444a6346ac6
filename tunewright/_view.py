"""What all views of the REST API have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """JSON that the service sends, as a Python type."""

    # A newer service may add fields; an older client must keep working.
    model_config = ConfigDict(frozen=True, extra="ignore")
