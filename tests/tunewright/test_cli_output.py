"""What commands print for programs."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from tunewright.cli import output
from tunewright.cli.problems import CommandLine


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("  two  blanks ", "  two  blanks "),
        ("a\u00a0b", "a\u00a0b"),
        ("C:\\new", "C:\\new"),
        ("two\r\nlines", "two\\nlines"),
        ("a\ttab", "a tab"),
        ("\x1b[31mred\u2028", "[31mred"),
        ("", ""),
    ],
)
def test_values_for_programs_stay_as_they_are_on_a_line_of_their_own(
    value: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output.fields([("name", value), ("other", "1")])
    output.table(["Name", "Value"], [("name", value)])

    assert capsys.readouterr().out == f"name\t{printed}\nother\t1\nname\tvalue\nname\t{printed}\n"


def test_for_people_a_line_has_single_blanks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "for_people", lambda: True)

    output.line("two\n lines", "\x1b[31mred")

    assert capsys.readouterr().out == "two lines\t[31mred\n"


def test_a_command_whose_packages_are_missing_says_what_to_install() -> None:
    commands = typer.Typer(cls=CommandLine)

    @commands.command()
    def walk() -> None:
        import no_such_package  # type: ignore[import-not-found]  # noqa: F401

    @commands.command()
    def other() -> None:
        pass

    result = CliRunner().invoke(commands, ["walk"])

    assert result.exit_code == 2
    assert "no_such_package is missing" in result.stderr
    assert "pip install 'tunewright[server,models]'" in result.stderr
