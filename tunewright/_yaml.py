"""YAML as people write studies in it, read with bounds: whatever the text, it is a mapping of plain values or an error.

Plain are the values of JSON: what else YAML can say (dates, sets, bytes, NaN, integers beyond 64 bits, NUL and unpaired
surrogates in strings) could not be sent to a service and stored there unchanged.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from tunewright.errors import SpecError

# A study is a page or two. The reader takes some seconds for a text of this size, in the worst case.
MAX_BYTES = 256 * 1024
# As deep as the service reads JSON.
MAX_DEPTH = 64
# Aliases can make a short text stand for more than fits in memory ("a billion laughs").
MAX_VALUES = 100_000
INTEGERS = range(-(2**63), 2**63)
_MAX_NUMBER = 400


class _TooDeep(Exception):
    """The text is nested too deeply."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads numbers, words and escapes as YAML 1.2 and JSON do, or refuses them; and no key twice.

    PyYAML by itself reads 1e-3 as a string, 012 as 10, 12:30:00 as 45000, off as false, and the two halves of
    "\\ud83d\\ude00" as two characters.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Before Python's own stack ends, which it does at another depth in every program.
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _TooDeep
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        node.value = _PAIR.sub(_joined, node.value)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        # Before merges (<<) are resolved, whose keys may stand again.
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                same = (key.tag, key.value)
                if same in lines:
                    raise _refused(f"{key.value[:100]!r} stands in line {lines[same]} already; remove one", key)
                lines[same] = key.start_mark.line + 1
        return node

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: yaml.Mark) -> list[str]:
        try:
            return super().scan_flow_scalar_non_spaces(double, start_mark)
        except (ValueError, OverflowError):
            problem = "this escape stands for no character; remove it"
            raise yaml.scanner.ScannerError(None, None, problem, self.get_mark()) from None

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (LookupError, ValueError, AttributeError):
            # What PyYAML stumbles over: !!bool maybe, !!int "", 2026-02-31.
            kind = node.tag.rpartition(":")[2]
            raise _refused(f"this is no {kind}; correct it, or quote what is meant as text", node) from None

    def bounded_int(self, node: yaml.ScalarNode) -> int:
        self._bound(node)
        if _OCTAL.match(node.value):
            raise _refused(
                f"YAML reads {node.value} as octal; leave out the zero in front, or quote what is text", node
            )
        return int(self.construct_yaml_int(node))

    def bounded_float(self, node: yaml.ScalarNode) -> float:
        self._bound(node)
        return float(self.construct_yaml_float(node))

    def _bound(self, node: yaml.ScalarNode) -> None:
        # Python refuses some of them, and takes a time that grows with the square for others.
        if len(node.value) > _MAX_NUMBER:
            raise _refused(f"a number of {len(node.value)} characters is too long; quote it", node)
        if ":" in node.value:
            raise _refused(f"YAML reads {node.value} in base 60; quote it, or write a plain number", node)


def _refused(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")


class _Dumper(yaml.SafeDumper):
    """Its counterpart: quotes the string "1e-3"."""


# A character beyond 16 bits as JSON escapes it.
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_OCTAL = re.compile(r"[-+]?0[0-7_]")
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))
# Leaves true and false: yes, no, on and off are words.
for _first in "yYnNoO":
    _Loader.yaml_implicit_resolvers[_first] = [
        (tag, pattern) for tag, pattern in _Loader.yaml_implicit_resolvers[_first] if not tag.endswith(":bool")
    ]
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.bounded_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.bounded_float)


def dump(value: Any) -> str:
    """YAML text from which `read_mapping` reads an equal value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def read_mapping(source: str | Path, what: str, keys: str) -> dict[str, Any]:
    """Read a mapping from a YAML (or JSON) file, or from its text.

    Args:
        what, keys: what it is and what it holds, for messages.
    Raises:
        SpecError: not readable as YAML, not a mapping, too large, or it holds what JSON cannot; the message says where.
    """
    text = _text(source, what)
    try:
        # Derived from the safe loader.
        data = yaml.load(text, _Loader)  # nosec B506
    except yaml.YAMLError as error:
        raise SpecError(f"{what}: not valid YAML: {error}") from error
    except _TooDeep:
        raise SpecError(f"{what}: nested too deeply; at most {MAX_DEPTH} levels are read") from None
    except ValueError as error:
        # A directive with a number that Python does not read.
        raise SpecError(f"{what}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise SpecError(f"{what}: expected a mapping with {keys}, not {type(data).__name__}")
    _Plain(what).check(data)
    return data


def _text(source: str | Path, what: str) -> str:
    if isinstance(source, str):
        text = source
    else:
        try:
            with source.open("rb") as file:
                text = file.read(MAX_BYTES + 1).decode("utf-8")
        except UnicodeDecodeError as error:
            # One character may have been cut through where reading stopped.
            if error.start < MAX_BYTES - 3:
                raise SpecError(f"{what}: cannot read {source}: {error}") from error
            text = " " * (MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            raise SpecError(f"{what}: cannot read {source}: {error}") from error
    if len(text) > MAX_BYTES:
        raise SpecError(f"{what}: has more than {MAX_BYTES // 1024} KiB; a study is a page or two")
    return text


class _Plain:
    """Checks that a value is made of what JSON can say, and of not too much of it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._left = MAX_VALUES

    def check(self, value: Any, path: str = "", depth: int = MAX_DEPTH) -> None:
        """Go through everything in it.

        Raises:
            SpecError: names the field.
        """
        self._left -= 1
        if self._left < 0:
            raise SpecError(f"{self._what}: stands for more than {MAX_VALUES:,} values; leave aliases (*name) out")
        if depth == 0:
            raise SpecError(f"{self._what}: nested too deeply; at most {MAX_DEPTH} levels are read")
        if isinstance(value, dict):
            for key, item in value.items():
                self._key(key, path)
                self.check(item, f"{path}.{key}" if path else key, depth - 1)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                self.check(item, f"{path}.{number}", depth - 1)
        elif problem := _problem(value):
            raise SpecError(f"{path[:200]}: {problem}")

    def _key(self, key: Any, path: str) -> None:
        where = path[:200] or self._what
        if not isinstance(key, str):
            raise SpecError(f"{where}: the key {str(key)[:100]!r} is read as {type(key).__name__}; quote it")
        if problem := _problem(key):
            raise SpecError(f"{where}: {problem}")


def _problem(value: Any) -> str | None:
    """Why JSON cannot say a value that is no list and no mapping, and what to do."""
    if isinstance(value, str):
        bad = "\0" in value or any("\ud800" <= character <= "\udfff" for character in value)
        return f"{value[:50]!r} holds a NUL or an unpaired surrogate; remove it" if bad else None
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        fits = value in INTEGERS
        return None if fits else "an integer has more than 64 bits; write it with an exponent, or quote it"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is no number that can be kept; leave the field out"
    return f"{str(value)[:50]} is read as {type(value).__name__}; quote it"
