"""The handbook's code blocks, as the tests of this directory read them.

A block that cannot run is preceded by a line of its own that readers see, too:

    *Not run by the tests: REASON.*
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NOT_RUN = re.compile(r"\*Not run by the tests: (.+)\.\*")
# What may stand before a command.
ASSIGNMENT = re.compile(r"[A-Z_]+=")
OPERATORS = "|&;<>"


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        page: relative to the repository.
        line: its first line on the page, from 1.
        language: as the fence says; empty for one that is only indented, which holds commands.
        reason: why it cannot run; None for one that can.
    """

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name of the file that it is, where its first line says so: `# train.py`."""
        named = re.match(r"# ([\w/-]+\.\w+)$", self.text.partition("\n")[0])
        return named[1] if named else None

    def commands(self) -> Iterator[list[str]]:
        """Every command in it as words, without comments, variables set before it, and what follows a redirection."""
        for line in self.text.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=OPERATORS)
            lexer.whitespace_split = True
            words: list[str] = []
            redirected = False
            for word in [*lexer, ";"]:
                if set(word) - set(OPERATORS):
                    words.append(word)
                    continue
                words = list(dropwhile(ASSIGNMENT.match, words))
                if words and not redirected:
                    yield words
                words, redirected = [], set(word) <= set("<>")


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    tokens = MarkdownIt("commonmark").parse(page.read_text())
    name = str(page.relative_to(ROOT))
    return [
        Block(name, (token.map or [0])[0] + 1, token.info.strip(), token.content, _reason(tokens, place))
        for place, token in enumerate(tokens)
        if token.type in ("fence", "code_block")
    ]


def _reason(tokens: list[Token], place: int) -> str | None:
    before = tokens[place - 2] if place >= 2 else None
    found = NOT_RUN.fullmatch(before.content) if before is not None and before.type == "inline" else None
    return found[1] if found else None


BLOCKS = [block for page in PAGES for block in blocks(page)]


def of(page: str, language: str) -> list[str]:
    """Texts of a page's blocks in one language that can run: `of("walks.md", "python")`."""
    return [b.text for b in BLOCKS if b.page == f"docs/{page}" and b.language == language and b.reason is None]
