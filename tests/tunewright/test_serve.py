"""What `tunewright serve` says of itself before it serves."""

from __future__ import annotations

import pytest

from tunewright.cli.problems import Refused
from tunewright.cli.serve import listen


@pytest.mark.parametrize(
    ("host", "reason"), [("203.0.113.1", "Cannot assign requested address"), ("no host", "Name or service not known")]
)
def test_a_host_that_is_not_of_this_machine_is_named(host: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        listen(host, 0)

    assert str(refused.value) == f"host {host} cannot be used ({reason}); give an address of this machine with --host"
