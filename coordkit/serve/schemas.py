"""A plausible answer to any JSON schema, for requests that no skill knows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from math import ceil, inf
from typing import Any

from coordkit.serve.errors import ApiError

Json = dict[str, Any]

_MOST = 1_000  # of items or characters, whatever the least is that a schema wants
_NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?\b")
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "name@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


@contextmanager
def _refused() -> Iterator[None]:
    """Refuse what is no JSON schema: whatever is wrong in one shows when it is read."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
        message = f"a schema in the request is not a JSON schema: {error!r}"
        raise ApiError(400, message, "invalid_schema") from None


@_refused()
def plain(schema: Any) -> Json:
    """A schema without references and alternatives, as ``coordkit.faults`` reads it.

    ``$ref`` is followed, but not where a schema refers to itself; ``allOf`` is merged; of
    ``anyOf`` and ``oneOf`` the first alternative is kept that is not null.

    Raises:
        ApiError: 400 if it is no JSON schema.
    """
    return _plain(schema, schema) or {}


def _plain(schema: Any, root: Any, within: tuple[str, ...] = ()) -> Json | None:
    """A part of the schema ``root``; None if it refers to one of those that it is within."""
    found = dict(schema) if isinstance(schema, Mapping) else {}  # true and false are schemas too
    if reference := found.pop("$ref", None):
        if reference in within:
            return None
        names = filter(None, reference.lstrip("#/").split("/"))
        target = reduce(lambda part, name: part[name], names, root)
        return _plain({**target, **found}, root, (*within, reference))
    for part in found.pop("allOf", []):
        _merge(found, _plain(part, root, within) or {})
    if options := found.pop("anyOf", None) or found.pop("oneOf", None):
        read = [o for option in options if (o := _plain(option, root, within)) is not None]
        if not read:
            return None
        _merge(found, min(read, key=lambda option: option.get("type") == "null"))
    if "properties" in found:
        parts = {k: _plain(part, root, within) for k, part in (found["properties"] or {}).items()}
        found["properties"] = {name: part for name, part in parts.items() if part is not None}
    if "prefixItems" in found:
        found["prefixItems"] = [_plain(p, root, within) or {} for p in found["prefixItems"]]
    if "items" in found:
        items = _plain(found["items"], root, within)
        found |= {"maxItems": 0} if items is None else {"items": items}
    return found


def _merge(found: Json, other: Json) -> None:
    """Add the properties and what is required; all else of the other one counts."""
    for name, value in other.items():
        if name == "properties":
            value = {**found.get(name, {}), **value}
        elif name == "required":
            value = [*found.get(name, []), *value]
        found[name] = value


@_refused()
def plausible(schema: Any, text: str = "") -> Any:
    """A value that conforms to a JSON schema: the first choice, the first number, some of the text.

    Args:
        schema: the schema. ``pattern``, ``not``, ``if`` and ``uniqueItems`` are not honoured.
        text: what strings and numbers are taken from.

    Raises:
        ApiError: 400 if it is no JSON schema.
    """
    return _fill(plain(schema), text)


def _fill(found: Json, text: str) -> Any:
    if "const" in found:
        return found["const"]
    if found.get("enum"):
        return found["enum"][0]
    unnamed = "array" if {"items", "prefixItems"} & found.keys() else "string"
    kind = found.get("type") or ("object" if "properties" in found else unnamed)
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind == "object":
        parts = found.get("properties") or {}
        names = dict.fromkeys([*parts, *(found.get("required") or [])])
        return {name: _fill(parts.get(name, {}), text) for name in names}
    if kind == "array":
        first = found.get("prefixItems", [])
        wanted = max(found.get("minItems", 0), min(1, found.get("maxItems", 1)))
        kinds = [*first, *[found.get("items") or {}] * (min(wanted, _MOST) - len(first))]
        return [_fill(part, text) for part in kinds]
    if kind in ("integer", "number"):
        return _a_number(found, text, whole=kind == "integer")
    if kind == "string":
        return _a_string(found, text)
    return False if kind == "boolean" else None


def _a_number(found: Json, text: str, whole: bool) -> float:
    seen = _NUMBER.search(text)
    step = found.get("multipleOf") or (1 if whole else 0)
    gap = step or 1e-3
    low = max(found.get("minimum", -inf), found.get("exclusiveMinimum", -inf) + gap)
    high = min(found.get("maximum", inf), found.get("exclusiveMaximum", inf) - gap)
    value: float = min(max(float(seen.group()) if seen else 0.0, low), high)
    if step:
        value = ceil(value / step) * step
        value = value - step if value > high else value
    return int(value) if whole else value


def _a_string(found: Json, text: str) -> str:
    if found.get("format") in _FORMATS:
        return _FORMATS[found["format"]]
    least, most = found.get("minLength", 0), found.get("maxLength", 80)
    return " ".join(text.split())[: min(most, 80)].ljust(min(least, _MOST), ".")
