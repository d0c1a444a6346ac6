"""Commands that open the store of the service on this machine, instead of asking the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from tunewright.cli.problems import Refused, field_lines
from tunewright.errors import TunewrightError

if TYPE_CHECKING:
    from service.settings import ServiceSettings

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where the service keeps its store (else TUNEWRIGHT_DATA_DIR or TUNEWRIGHT_DATABASE_URL says).",
        show_default="~/.tunewright",
    ),
]


@contextmanager
def own_store(data_dir: Path | None) -> Iterator[ServiceSettings]:
    """The settings of the service on this machine, for what is done to its store; its modules are imported within.

    Raises:
        Refused: the packages of a service are not installed here, or a setting is wrong.
        TunewrightError: the store cannot be used.
    """
    try:
        from service.settings import ServiceSettings

        yield ServiceSettings() if data_dir is None else ServiceSettings(data_dir=data_dir)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tunewright"):
            raise
        raise Refused(
            f"this works on the server's machine, whose packages are not installed here ({error.name} is missing)"
        ) from None
    except ValidationError as error:
        raise Refused("\n".join(field_lines(error))) from None
    except (TunewrightError, typer.Exit):
        raise
    except Exception as error:
        # A driver's error may hold more than its first line, such as a statement.
        raise TunewrightError(f"the store cannot be used: {str(error).splitlines()[0]}") from None
