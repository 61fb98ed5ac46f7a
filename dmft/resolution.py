"""Precedence of settings: one rule for files, `--set`, grids and `replace`.

Sources are in order; the last that gives a key wins, and the order of different keys never
matters. Every key must be known to the final `kind` of its table. See docs/settings.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dmft.errors import InputError
from dmft.shapes import KIND, Table, kind_of, setting_names, shown_name, tables
from dmft.texts import DEEPEST
from dmft.validation import Settings, echo, nearest_key

Path = tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Settings that are given in one place, where no key may be given twice.

    settings : nested tables, dotted keys, or both.
    where : the place, as in "given {where}".
    remedy : what to do about a key that should not be there.
    """

    settings: Mapping[str, Any]
    where: str
    remedy: str = "remove it there"


@dataclass(frozen=True, eq=False)
class _Leaf:
    """A value of a key. order : number of its source."""

    value: Any
    order: int


@dataclass
class _Node:
    leaves: list[_Leaf] = field(default_factory=list)
    children: dict[str, _Node] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not self.leaves and all(child.empty for child in self.children.values())

    def last(self) -> _Leaf:
        """The leaf that counts."""
        return max(self.leaves, key=lambda leaf: leaf.order)

    def newest(self) -> _Leaf:
        """The last leaf here or below."""
        below = [child.newest() for child in self.children.values() if not child.empty]
        return max([*self.leaves, *below], key=lambda leaf: leaf.order)

    def forget(self, order: int) -> None:
        """Drop what sources before `order` gave, here and below."""
        self.leaves = [leaf for leaf in self.leaves if leaf.order >= order]
        for child in self.children.values():
            child.forget(order)


def resolve(model: type[Settings], sources: Sequence[Source]) -> dict[str, Any]:
    """The settings that sources give together, as nested tables, to make a `model` of.

    Parameters
    ----------
    model : says which settings and kinds there are.
    sources : in order of precedence, the last one wins.

    Raises
    ------
    InputError : a key that the final kind of its table does not have, or that one source gives
        twice. Values are not looked at.
    """
    return _Resolution(model, sources).table()


class _Resolution:
    def __init__(self, model: type[Settings], sources: Sequence[Source]) -> None:
        self.model, self.sources = model, sources
        self.root = _Node()
        for order, source in enumerate(sources):
            for path, value in _flat(source.settings):
                self._insert(self.root, self._canonical(path), value, order, ())

    def table(self) -> dict[str, Any]:
        return self._keys(self.root, self.model, (), None)

    # ------------------------------------------------------------- collecting

    def _canonical(self, path: Path) -> Path:
        for alias, meant in self.model.aliases.items():
            if path[: len(alias)] == alias:
                return meant + path[len(alias) :]
        return path

    def _insert(self, node: _Node, path: Path, value: Any, order: int, above: Path) -> None:
        if len(above) + len(path) > DEEPEST:
            raise InputError(
                f"{self._where(order)}, must have at most {DEEPEST} parts", echo(".".join(path))
            )
        for part in path:
            node = node.children.setdefault(part, _Node())
        if any(leaf.order == order for leaf in node.leaves):
            raise InputError(
                f"{self._where(order)} twice, must be given once", self._name(above + path)
            )
        node.leaves.append(_Leaf(value, order))

    # -------------------------------------------------------------- resolving

    def _keys(
        self, node: _Node, model: type[Settings], path: Path, kind: _Leaf | None
    ) -> dict[str, Any]:
        """The table of a node that is one of `model`; `kind` is what chose that, if anything."""
        result: dict[str, Any] = {}
        for name, child in node.children.items():
            if child.empty:
                continue
            if name not in model.model_fields:
                raise self._unknown(child, model, (*path, name), kind)
            result[name] = self._field(child, tables(model).get(name), (*path, name))
        return result

    def _field(self, node: _Node, table: Table | None, path: Path) -> Any:
        if table is not None:
            return self._table(node, table, path)
        if any(not child.empty for child in node.children.values()):
            name = next(name for name, child in node.children.items() if not child.empty)
            where = self._where(node.children[name].newest().order)
            raise InputError(
                f"'{path[-1]}' is no section but a value, so that '{name}', {where}, is unknown",
                self._name((*path, name)),
            )
        return node.last().value

    def _table(self, node: _Node, table: Table, path: Path) -> Any:
        for leaf in sorted(node.leaves, key=lambda leaf: leaf.order):
            if leaf not in node.leaves:
                continue  # forgotten
            value, known = leaf.value, tuple(table.members.values())
            if value is None or isinstance(value, known):
                node.forget(leaf.order)  # a whole object leaves nothing to merge with
            if isinstance(value, known):
                value = _given(value)
            elif value is not None:
                value = table.shorthand.table(value) if table.has_kinds else value
            if isinstance(value, dict):
                node.leaves.remove(leaf)
                for inner, entry in _flat(value):
                    self._insert(node, inner, entry, leaf.order, path)
        if node.leaves:
            return self._whole(node, table, path)
        kind = node.children[KIND] if KIND in node.children else _Node()
        chosen = kind.last() if kind.leaves else None
        name = table.kind if chosen is None else chosen.value
        member = table.members.get(name if table.has_kinds else "") if _is_text(name) else None
        if member is None and chosen is None and not node.empty:
            raise InputError(
                f"{self._where(node.newest().order)} without '{KIND}', must have one: "
                f"{', '.join(table.members)}",
                self._name(path),
            )
        if member is None:
            return _plain(node)  # for the model to refuse: a kind that there is not
        return self._keys(node, member, path, chosen)

    def _whole(self, node: _Node, table: Table, path: Path) -> Any:
        """A value that stands for a whole table, if nothing is given below it."""
        leaf = node.last()
        below = {name: child for name, child in node.children.items() if not child.empty}
        later = all(child.newest().order > leaf.order for child in below.values())
        if leaf.value is None and below and later:
            node.leaves.clear()
            return self._table(node, table, path)
        if below:
            name, child = next(iter(below.items()))
            raise InputError(
                f"given {echo(leaf.value)} {self._where(leaf.order)} and a key '{name}' "
                f"{self._where(child.newest().order)}, must be one of the two",
                self._name(path),
            )
        if not table.has_kinds and not isinstance(leaf.value, Settings) and leaf.value is not None:
            raise InputError(
                f"given {echo(leaf.value)}, must be a section of keys", self._name(path)
            )
        return leaf.value

    # ----------------------------------------------------------------- errors

    def _unknown(
        self, node: _Node, model: type[Settings], path: Path, kind: _Leaf | None
    ) -> InputError:
        order = node.newest().order
        name, where = path[-1], self._where(order)
        allowed = [key for key in model.model_fields if key != KIND or kind_of(model)]
        if not path[:-1]:
            allowed = [*allowed, *(alias[0] for alias in self.model.aliases)]
        others = self._kinds_with(path)
        if not kind_of(model) or not others:
            same = [full for full in self._all_names() if full.endswith(f".{name}")]
            hint = f"did you mean '{same[0]}'? " if same and not _close(name, allowed) else ""
            message = nearest_key(name, allowed)
            if hint:
                message = f"unknown key, {hint}allowed: {', '.join(sorted(allowed))}"
            if kind_of(model):
                message += f" (kind '{kind_of(model)}')"
            return InputError(f"{message}; {where}" if where else message, self._name(path))
        by = "by default" if kind is None else self._where(kind.order)
        rest = sorted(key for key in allowed if key != KIND)
        return InputError(
            f"unknown key of kind '{kind_of(model)}' ({by}), but {where}: "
            f"{self.sources[order].remedy}, or choose a kind that has it ({', '.join(others)}); "
            f"'{kind_of(model)}' has {', '.join(rest) or 'no keys'}",
            self._name(path),
        )

    def _all_names(self) -> list[str]:
        """Dotted names of all tables and settings."""
        parts = [name.split(".") for name in setting_names(self.model)]
        names = [".".join(path[:end]) for path in parts for end in range(1, len(path) + 1)]
        return list(dict.fromkeys(names))

    def _kinds_with(self, path: Path) -> list[str]:
        """Kinds of the innermost table of a path that have its last key."""
        models: list[type[Settings]] = [self.model]
        for part in path[:-1]:
            models = [
                member
                for model in models
                if part in tables(model)
                for member in tables(model)[part].members.values()
            ]
        return [kind_of(model) for model in dict.fromkeys(models) if path[-1] in model.model_fields]

    def _where(self, order: int) -> str:
        where = self.sources[order].where
        return f"given {where}" if where else "given"

    def _name(self, path: Path) -> str:
        """The dotted name, by the alias of its table if it has one."""
        return shown_name(self.model, path)


def _close(name: str, allowed: list[str]) -> bool:
    return "did you mean" in nearest_key(name, allowed)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _flat(settings: Mapping[str, Any], prefix: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Paths and values of nested tables and dotted keys; an empty table is a value."""
    for key, value in settings.items():
        path = (*prefix, *str(key).split("."))
        if isinstance(value, Mapping) and value:
            yield from _flat(value, path)
        else:
            yield path, value


def _given(settings: Settings) -> dict[str, Any]:
    """What an object was made of, its kind included."""
    kind = kind_of(type(settings))
    return {**({KIND: kind} if kind else {}), **settings.given()}


def _plain(node: _Node) -> Any:
    """The nested tables of a node, of whatever kind."""
    if node.leaves:
        return node.last().value
    return {name: _plain(child) for name, child in node.children.items() if not child.empty}
