"""A pickle read as data: nothing that it names is imported, and nothing is called.

Where a pickle would build an object, a `Record` notes the name, the arguments and the state. This
is enough for tables of plain values, such as the metadata of distributed checkpoints.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import Any, ClassVar

from dmft.errors import InputError
from dmft.texts import words_of


@dataclass(eq=False)
class Record:
    """An object that is not built: its class or function, arguments, and state."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None


def parsed(data: bytes, where: str) -> Any:
    """The value of a pickle, with records for objects.

    Raises
    ------
    InputError : damaged, or with operations that plain tables do not need.
    """
    try:
        return _Machine().run(data)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise InputError(
            f"has metadata that cannot be read, damaged? ({words_of(error)})", where
        ) from None


class _Machine:
    """The stack of the pickle format, without its power to call."""

    _VALUES: ClassVar = {
        "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (),
    }  # fmt: skip
    _LITERALS: ClassVar = {
        "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "BININT", "BININT1", "BININT2",
        "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT", "SHORT_BINBYTES", "BINBYTES",
        "BINBYTES8", "SHORT_BINSTRING", "BINSTRING", "STRING",
    }  # fmt: skip

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for operation, argument, _ in pickletools.genops(data):
            name = operation.name
            if name == "STOP":
                return self.stack.pop()
            if name in self._VALUES:
                self.stack.append(self._VALUES[name])
            elif name in self._LITERALS:
                self.stack.append(argument)
            elif name not in ("PROTO", "FRAME"):
                self._do(name, argument)
        raise ValueError("no end")

    def _do(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name == "MARK":
            self.marks.append(len(stack))
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[len(self.memo) if argument is None else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"):
            stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}[name]())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
            items = self._marked()
            plain = {"TUPLE": tuple, "LIST": list, "FROZENSET": tuple}
            pairs = zip(items[::2], items[1::2], strict=True)
            stack.append(dict(pairs) if name == "DICT" else plain[name](items))
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if name == "APPEND" else self._marked()
            stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self._marked()
            target = stack[-1] if isinstance(stack[-1], dict) else {}
            target.update(zip(items[::2], items[1::2], strict=True))
        elif name == "POP":
            stack.pop()
        else:
            self._record(name, argument)

    def _record(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name == "GLOBAL":
            stack.append(Record(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            last = stack.pop()
            stack.append(Record(f"{stack.pop()}.{last}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            stack.append(Record(stack.pop().name, tuple(arguments)))
        elif name == "NEWOBJ_EX":
            stack.pop()
            arguments = stack.pop()
            stack.append(Record(stack.pop().name, tuple(arguments)))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state = state
        else:
            raise ValueError(f"operation {name}")

    def _marked(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items
