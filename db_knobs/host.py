"""This machine, for servers that run on it."""

from __future__ import annotations

import os

from db_knobs.address import Address
from db_knobs.catalog import Host


def host_of(address: Address, declared: Host) -> Host:
    """The server's machine: as declared, and where nothing is declared and the server is on this one, this one.

    A server in a container of this machine may have less; then its limits must be declared.
    """
    if not address.local:
        return declared
    here = Host(ram_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), cores=os.cpu_count())
    return Host(ram_bytes=declared.ram_bytes or here.ram_bytes, cores=declared.cores or here.cores)
