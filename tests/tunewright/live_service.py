"""The service on a real port, without Ray: tests say what runners did, and stop it and start it again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import uvicorn

from service.api.dependencies import Services
from service.app import create_app
from service.events import EventFeed
from service.settings import ServiceSettings
from service.store.engine import migrate, open_engine
from service.store.repository import Repository
from tests.service.conftest import OneWorkload, Runner, StillConductor, complete_spec
from tests.service.desk_runners import DeskRunners
from tunewright.cli.serve import listen
from tunewright.views import Study


class LiveService:
    """One data directory and one port, over restarts."""

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        data_dir.mkdir()
        self.settings = ServiceSettings(data_dir=data_dir, **settings)
        engine = open_engine(self.settings.store_url)
        migrate(engine)
        self.repository = Repository(engine)
        self.conductor = StillConductor()
        self.desk_runners = DeskRunners()
        self._port = 0
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        listener = listen("127.0.0.1", self._port)
        self._port = listener.getsockname()[1]
        app = create_app(self.settings, self._assemble)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=0))
        self._server = server

        def run() -> None:
            with listener:
                server.run(sockets=[listener])

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def stop(self) -> None:
        """Stop it, cutting off whoever is connected."""
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join()

    def close(self) -> None:
        self.stop()
        self.desk_runners.stop(self.settings.store_url)
        self.repository.engine.dispose()

    def create(self, **fields: Any) -> Study:
        return self.repository.create_study(complete_spec(**fields))

    def runner(self, study: Study) -> Runner:
        return Runner.of(self.repository, self.settings.store_url, study.id)

    def _assemble(self, settings: ServiceSettings) -> Services:
        # An engine of its own, which the application disposes of when it ends.
        repository = Repository(open_engine(settings.store_url))
        conductor: Any = self.conductor
        catalog: Any = OneWorkload()
        return Services(
            settings, repository, conductor, EventFeed(repository, settings.feed()), catalog, self.desk_runners.desks
        )
