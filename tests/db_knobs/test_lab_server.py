"""A private server that does not start."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence

import pytest

from db_knobs.errors import LabError
from db_knobs.lab.server import PrivateServer


class _Broken(PrivateServer):
    def _initialize(self) -> None:
        (self.root / "data").mkdir()

    def _command(self) -> Sequence[str]:
        return ["/bin/false"]

    def _answers(self) -> bool:
        return False


def test_a_server_that_does_not_start_leaves_nothing_behind() -> None:
    server = _Broken(pwd.getpwuid(os.geteuid()).pw_name, None, "tw-broken-")

    with pytest.raises(LabError, match="does not answer"), server:
        pass

    assert not server.root.exists()
