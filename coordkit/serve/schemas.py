"""A plausible answer to any JSON schema, for requests that no skill knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from coordkit.serve.errors import ApiError

Json = dict[str, Any]

_DEEP = 6  # levels after which only what is required is filled in, so that recursion ends
_TOO_DEEP = 24  # levels after which a schema that requires itself for ever is given up
_NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?\b")
_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "name@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def _resolve(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """One level of a schema without references or alternatives.

    Args:
        schema: the schema, or a part of it; ``true`` and ``false`` are schemas too.
        root: the whole schema, where its ``$ref`` point.

    Returns:
        The schema with ``$ref`` followed, ``allOf`` merged, and of ``anyOf`` and ``oneOf`` the
        first alternative that is not null.
    """
    found = dict(schema) if isinstance(schema, Mapping) else {}
    for _ in range(_TOO_DEEP):
        if isinstance(found.get("$ref"), str):
            found = {**_follow(found.pop("$ref"), root), **found}
        elif isinstance(found.get("allOf"), list):
            for part in found.pop("allOf"):
                found = _merge(found, part)
        elif options := found.get("anyOf") or found.get("oneOf"):
            found = {k: v for k, v in found.items() if k not in ("anyOf", "oneOf")}
            options = [o for o in options if isinstance(o, Mapping)] or [{}]
            found |= next((o for o in options if o.get("type") != "null"), options[0])
        else:
            break
    return found


def _follow(reference: str, root: Mapping[str, Any]) -> dict[str, Any]:
    target: Any = root
    for name in reference.lstrip("#/").split("/") if reference.startswith("#/") else []:
        target = target.get(name.replace("~1", "/").replace("~0", "~"), {})
        if not isinstance(target, Mapping):
            return {}
    return dict(target) if reference.startswith("#/") else {}


def _merge(one: dict[str, Any], other: Any) -> dict[str, Any]:
    if not isinstance(other, Mapping):
        return one
    merged = {**one, **other}
    for name, kind in (("properties", dict), ("required", list)):
        if isinstance(one.get(name), kind) and isinstance(other.get(name), kind):
            merged[name] = (
                {**one[name], **other[name]} if kind is dict else [*one[name], *other[name]]
            )
    return merged


def _refused(error: Exception) -> ApiError:
    """The answer to a schema that is none."""
    return ApiError(400, f"not a JSON schema: {error}", "invalid_schema")


def plain(schema: Any) -> dict[str, Any]:
    """A schema as ``coordkit.faults`` reads it: properties, items, enum and type, nothing else.

    Raises:
        ApiError: 400 if it is no JSON schema.
    """
    try:
        return _plain(schema, schema if isinstance(schema, Mapping) else {}, 0)
    except (TypeError, ValueError, AttributeError) as error:
        raise _refused(error) from None


def _plain(schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    found = _resolve(schema, root)
    kept: dict[str, Any] = {"enum": found["enum"]} if isinstance(found.get("enum"), list) else {}
    kept |= {"type": found["type"]} if "type" in found else {}
    if depth < _DEEP and isinstance(found.get("properties"), Mapping):
        parts = found["properties"].items()
        kept["properties"] = {k: _plain(part, root, depth + 1) for k, part in parts}
    if depth < _DEEP and "items" in found:
        kept["items"] = _plain(found["items"], root, depth + 1)
    return kept


def plausible(schema: Any, text: str = "") -> Any:
    """A value that conforms to a JSON schema: the first choice, the first number, some of the text.

    Args:
        schema: the schema. ``pattern``, ``not``, ``if`` and ``uniqueItems`` are not honoured.
        text: what strings and numbers are taken from.

    Raises:
        ApiError: 400 if it is no JSON schema.
    """
    try:
        return _fill(schema, text, schema if isinstance(schema, Mapping) else {}, 0)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _refused(error) from None


def _fill(schema: Any, text: str, root: Mapping[str, Any], depth: int) -> Any:
    if depth >= _DEEP and _may_be_null(schema):
        return None
    found = _resolve(schema, root)
    if "const" in found:
        return found["const"]
    if isinstance(found.get("enum"), list) and found["enum"]:
        return found["enum"][0]
    kind = found.get("type") or _kind(found)
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind == "object":
        return _an_object(found, text, root, depth)
    if kind == "array":
        return _a_list(found, text, root, depth)
    if kind in ("integer", "number"):
        return _a_number(found, text, whole=kind == "integer")
    if kind == "string":
        return _a_string(found, text)
    return False if kind == "boolean" else None


def _may_be_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return True
    options = schema.get("anyOf") or schema.get("oneOf") or []
    kinds = schema.get("type")
    listed = isinstance(kinds, list) and "null" in kinds
    return listed or any(isinstance(o, Mapping) and o.get("type") == "null" for o in options)


def _kind(found: Mapping[str, Any]) -> str:
    if "properties" in found:
        return "object"
    return "array" if "items" in found or "prefixItems" in found else "string"


def _an_object(found: Mapping[str, Any], text: str, root: Any, depth: int) -> dict[str, Any]:
    parts, required = found.get("properties") or {}, found.get("required") or []
    names = list(required) if depth >= _DEEP else list(dict.fromkeys([*parts, *required]))
    if depth >= _TOO_DEEP:
        return {}
    return {name: _fill(parts.get(name, {}), text, root, depth + 1) for name in names}


def _a_list(found: Mapping[str, Any], text: str, root: Any, depth: int) -> list[Any]:
    first = list(found.get("prefixItems") or [])
    least, most = found.get("minItems", 0), found.get("maxItems", 1_000)
    wanted = least if depth >= _DEEP else max(least, len(first), min(1, most))
    if depth >= _TOO_DEEP:
        return []
    kinds = [*first, *[found.get("items", {})] * max(0, min(wanted, 1_000) - len(first))]
    return [_fill(kind, text, root, depth + 1) for kind in kinds]


def _a_number(found: Mapping[str, Any], text: str, whole: bool) -> float:
    seen = _NUMBER.search(text)
    value = float(seen.group()) if seen else 0.0
    step = found.get("multipleOf") or (1 if whole else 0)
    low, high = found.get("minimum"), found.get("maximum")
    gap = step or 1e-3
    if isinstance(found.get("exclusiveMinimum"), int | float):
        low = found["exclusiveMinimum"] + gap
    if isinstance(found.get("exclusiveMaximum"), int | float):
        high = found["exclusiveMaximum"] - gap
    value = value if low is None else max(value, low)
    value = value if high is None else min(value, high)
    if step:
        value = -(-value // step) * step  # up to the next multiple
        value = value - step if high is not None and value > high else value
    return int(value) if whole else value


def _a_string(found: Mapping[str, Any], text: str) -> str:
    if found.get("format") in _FORMATS:
        return _FORMATS[found["format"]]
    least, most = found.get("minLength", 0), found.get("maxLength", 80)
    return " ".join(text.split())[: min(most, 80)].ljust(min(least, 10_000), ".")
