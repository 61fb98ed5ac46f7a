"""The rule of docs/settings.md once more, as plainly as possible, and random settings to try it on.

Which settings there are is read from the JSON schema, not from the code under test.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

Keys = list[tuple[str, Any]]  # dotted names and values


class Refused(Exception):
    """The reference refuses; `key` is unknown to the final kind, if that is why."""

    def __init__(self, keys: set[str]) -> None:
        self.keys = keys


def _plain(schema: Any) -> Any:
    """The schema as new pydantic writes it: old ones wrap a lone reference in allOf."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    lone = schema["allOf"][0] if len(schema.get("allOf", ())) == 1 else {}
    return {key: _plain(part) for key, part in {**schema, **lone}.items() if key != "allOf"}


class Reference:
    def __init__(self, model: type) -> None:
        self.model = model
        self.schema = _plain(model.model_json_schema())

    # ------------------------------------------------------------------ the rule

    def resolve(self, sources: list[Keys]) -> Any:
        """The settings that sources give together, or Refused."""
        final: dict[str, Any] = {}
        for source in sources:
            source = [(self._canonical(key), value) for key, value in source]
            names = [key for key, _ in source]
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise Refused(twice)
            final.update(source)
        unknown = {self._unknown(key, final) for key in final} - {""}
        if unknown:
            raise Refused(unknown)
        nested: dict[str, Any] = {}
        for key, value in final.items():
            *above, last = key.split(".")
            table = nested
            for part in above:
                table = table.setdefault(part, {})
            table[last] = value
        try:
            return self.model(**nested)
        except ValueError:
            raise Refused(set()) from None

    def _canonical(self, key: str) -> str:
        """[dynamics] of a run is [problem.dynamics]."""
        is_alias = "dynamics" not in self.schema["properties"] and key.split(".")[0] == "dynamics"
        return f"problem.{key}" if is_alias else key

    def _unknown(self, key: str, final: dict[str, Any]) -> str:
        """The part of a key up to what is not known, "" if all is."""
        here, prefix = self.schema, ""
        for part in key.split("."):
            if part not in here["properties"]:
                return f"{prefix}.{part}"
            prefix = f"{prefix}.{part}" if prefix else part
            entry = here["properties"][part]
            kinds = self._kinds(entry)
            if kinds:
                usual = (entry.get("default") or {}).get("kind")
                kind = final.get(f"{prefix}.kind", usual)
                if kind is None:
                    return prefix  # no kind to know it
                here = kinds[kind]
            elif "$ref" in entry:
                here = self._follow(entry["$ref"])
        return ""

    # ------------------------------------------------------------ what there is

    def _follow(self, reference: str) -> Any:
        return self.schema["$defs"][reference.rpartition("/")[2]]

    def _kinds(self, entry: Any) -> dict[str, Any]:
        for part in entry.get("anyOf", [entry]):
            if "discriminator" in part:
                mapping = part["discriminator"]["mapping"]
                return {kind: self._follow(name) for kind, name in mapping.items()}
        return {}

    def settings(self, rng: random.Random, chance: float = 0.5) -> Iterator[tuple[str, Any]]:
        """Settings of random kinds that go together, each with the given chance."""
        yield from self._of(self.schema, "", rng, chance)

    def _of(
        self, here: Any, prefix: str, rng: random.Random, chance: float
    ) -> Iterator[tuple[str, Any]]:
        for name, entry in here["properties"].items():
            full = f"{prefix}{name}"
            kinds = self._kinds(entry)
            if kinds:
                usual = (entry.get("default") or {}).get("kind")
                change = rng.random() < (0.3 if usual else 0.1)
                kind = rng.choice(list(kinds)) if change else usual
                if change:
                    yield f"{full}.kind", kind
                if kind:
                    yield from self._of(kinds[kind], f"{full}.", rng, chance / 2)
            elif "$ref" in entry:
                yield from self._of(self._follow(entry["$ref"]), f"{full}.", rng, chance)
            elif name != "kind":
                required = name in here.get("required", ())
                value = _value(entry, rng)
                if value is not None and (required or rng.random() < chance):
                    yield full, value


def _value(entry: Any, rng: random.Random) -> Any:
    """A value of a type that the schema allows; None for types that have no part in this."""
    options = [part for part in entry.get("anyOf", [entry]) if part.get("type") != "null"]
    entry = rng.choice(options)
    if "enum" in entry:
        return rng.choice(entry["enum"])
    kind = entry.get("type")
    if kind == "boolean":
        return rng.random() < 0.5
    if kind in ("integer", "number"):
        low = entry.get("minimum", entry.get("exclusiveMinimum", 0))
        high = min(entry.get("maximum", entry.get("exclusiveMaximum", low + 9)), low + 9)
        if kind == "integer":
            return rng.randint(low, int(high))
        return round(low + (high - low) * rng.uniform(0.01, 0.99), 9)
    if kind == "array" and "$ref" not in str(entry["items"]):
        value = _value(entry["items"], rng)
        return None if value is None else [value]
    return None
