"""What studies can choose from: workloads and optimizers."""

from __future__ import annotations

from fastapi import APIRouter

from optimizers import registry
from service.api.dependencies import ServicesDep
from tunewright.views import OptimizerInfo, Workloads

router = APIRouter(prefix="/v1", tags=["catalog"])


@router.get("/workloads")
def list_workloads(services: ServicesDep) -> Workloads:
    """Registered workloads with their search spaces, objectives and data options."""
    return services.workloads.all()


@router.get("/optimizers")
def list_optimizers() -> list[OptimizerInfo]:
    """Optimizers with the JSON schema of their settings."""
    return [
        OptimizerInfo(name=found.name, description=found.text, settings=dict(found.settings))
        for found in registry.describe()
    ]
