"""YAML as its version 1.2 reads it, bounded: a file of a kilobyte must not become a gigabyte, nor `1:30` a 90.

PyYAML follows version 1.1, in which `no` is false, `1:30` is 90 and `010` is 8, while `1e-4` is text. Here plain words
are `null`, `true`, `false`, decimal integers, floats, or text. A key may stand only once. Anchors are allowed as long
as the document, with every alias written out, stays small.

Source: YAML 1.2.2, core schema (section 10.3.2).
"""

import re
from pathlib import Path
from typing import Any

import yaml

from cimeu.errors import CimeuError
from cimeu.reading import read_text

LARGEST_BYTES = 2**18
"""A recipe with every default written out has 2 kB."""
MOST_VALUES = 20_000
"""In one document, with aliases written out."""
DEEPEST = 40
"""Mappings and lists within each other."""


class _Loader(yaml.SafeLoader):
    """Of the core schema; two equal keys of a mapping are an error, where the second would silently win."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not one word", key.start_mark)
            if key.value in keys:
                raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` is there twice", key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
# PyYAML would take a leading zero for octal.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def read_yaml(path: Path, error: type[CimeuError], hint: str) -> Any:
    """What a YAML file holds.

    Raises:
        CimeuError: of the kind `error`: missing, not a regular file, not text in UTF-8, not YAML, or too large.
    """
    return parse_yaml(read_text(path, error, hint, at_most=LARGEST_BYTES), f"`{path}`", error, hint)


def parse_yaml(text: str, what: str, error: type[CimeuError], hint: str) -> Any:
    """The value of a text; `what` names it in errors. Raises as `read_yaml`."""
    try:
        node = yaml.compose(text, _Loader)
        if node is None:
            return None
        if _values(node, {}, 0) > MOST_VALUES:
            raise error(f"{what} holds more than {MOST_VALUES:,} values, aliases written out\n\nhint: {hint}")
        loader = _Loader("")
        try:
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RecursionError:
        raise error(f"{what} has more than {DEEPEST} mappings within each other\n\nhint: {hint}") from None
    except yaml.MarkedYAMLError as wrong:
        line = wrong.problem_mark.line + 1 if wrong.problem_mark else 1
        raise error(f"{what} is not YAML (line {line}: {wrong.problem})\n\nhint: {hint}") from wrong
    except (yaml.YAMLError, ValueError) as wrong:  # ValueError: an integer of ten thousand digits
        raise error(f"{what} is not YAML: {wrong}\n\nhint: {hint}") from wrong


def _values(node: yaml.Node, counted: dict[int, int], depth: int) -> int:
    """Values in a document, aliases counted each time they are used; RecursionError where it is too deep or endless."""
    if depth > DEEPEST:
        raise RecursionError
    if id(node) not in counted:
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = list(node.value)
        counted[id(node)] = 1 + sum(_values(part, counted, depth + 1) for part in inner)
    return counted[id(node)]
