"""`tunewright mcp`: studies for an assistant, over standard input and output."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from tunewright.cli.options import Url
from tunewright.client import Client


def mcp(
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Offer only the tools that change nothing, whatever the token allows.")
    ] = False,
    url: Url = None,
) -> None:
    """Serve the Model Context Protocol on standard input and output, until the input ends: an assistant reads and
    submits studies, as far as the token's scope goes."""
    from tunewright.integrations.mcp import Server
    from tunewright.integrations.mcp_tools import TOOLS

    # The protocol is UTF-8 whatever the locale; a byte that is none must not end the server.
    lines = TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace")
    with Client(url) as client:
        Server(client, [tool for tool in TOOLS if not (read_only and tool.writes)]).serve(lines, sys.stdout)
