"""Reads pickles without executing anything: a stack machine for the data in them.

A pickle is a program; Python's own machine imports names and calls them. This one supports the
opcodes that build numbers, strings, lists and dicts. A name is an inert `Name`; where the program
calls one, the caller's table of makers provides an inert value for the result, and a name that is
not in the table is refused. An object that is only allocated, as `pickle` does for most classes, is
an inert `Instance` of any class: nothing would be called. Large byte strings are views of the file.

The cost of a hostile file is bounded: every length is checked against the rest of the file, all
work is counted by a `Budget`, and nothing recurses.

Source: the documentation of Python's `pickletools`; PEP 307, 3154 and 574.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from perceptual_jax.checkpoints.untrusted.budget import Budget
from perceptual_jax.checkpoints.untrusted.inert import (
    CheckpointError,
    DamagedCheckpointError,
    Instance,
    Maker,
    Name,
    UnsafeCheckpointError,
)
from perceptual_jax.checkpoints.untrusted.opcodes import HANDLERS, MARK

_MAX_INTEGER_BYTES = 64
_MAX_ARGUMENTS = 16
"""Most arguments of a call; the longest of torch has seven."""
_LINE_LENGTHS = (256, 65536)
_VIEW = 1024
"""Byte strings longer than this are views, not copies."""


def unpickle(
    data: memoryview,
    makers: Mapping[Name, Maker],
    *,
    budget: Budget | None = None,
    find_storage: Callable[[Any], Any] | None = None,
    start: int = 0,
) -> tuple[Any, int]:
    """The value of one pickle, and the position of its end in the data.

    Args:
        data: Read-only bytes.
        makers: Makers of the inert results of calls, by name; calls of other names are refused.
        budget: Counts the work; None is a new budget for this pickle.
        find_storage: Maps a persistent id to its value; None refuses all of them.
        start: Position of the pickle in the data.

    Raises:
        UnsafeCheckpointError: If it calls another name, or costs more than the budget allows.
        DamagedCheckpointError: If it is not a complete pickle.
    """
    machine = _Machine(data, makers, budget or Budget(), find_storage, start)
    try:
        return machine.run(), machine.at
    except CheckpointError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        reason = str(error)[:200] or type(error).__name__
        raise DamagedCheckpointError(
            f"the file is damaged: its pickle makes no sense at byte {machine.at} ({reason})"
        ) from None


class _Machine:
    def __init__(
        self, data: memoryview, makers: Any, budget: Budget, find_storage: Any, start: int
    ):
        self.data, self.at = data, start
        self.makers, self.budget, self.find_storage = makers, budget, find_storage
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        data, stack, spent = self.data, self.stack, self.budget.spent
        limit = self.budget.limits.opcodes
        while True:
            spent["opcodes"] += 1
            if spent["opcodes"] > limit:
                self.budget.refuse("opcodes")
            if self.at >= len(data):
                self.take(1)  # refuses
            opcode = data[self.at]
            self.at += 1
            if opcode == 0x2E:  # STOP
                return self.pop()
            handler = HANDLERS.get(opcode)
            if handler is None:
                raise UnsafeCheckpointError(
                    f"the file's pickle has the opcode {bytes([opcode])!r} at byte {self.at - 1}, "
                    "which no checkpoint needs"
                )
            handler(self)
            if len(stack) > spent["stack"]:
                spent["stack"] = len(stack)
                if len(stack) > self.budget.limits.stack:
                    self.budget.refuse("stack")

    # Reading from the data.

    def take(self, count: int) -> memoryview:
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise DamagedCheckpointError(
                f"the file ends too early: {count:,} bytes are announced at byte {self.at:,}, "
                f"{len(self.data) - self.at:,} are left; get it again"
            )
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self, encoding: str = "utf-8") -> str:
        for length in _LINE_LENGTHS:  # short first, so that many short lines copy little
            piece = bytes(self.data[self.at : self.at + length])
            text, newline, _ = piece.partition(b"\n")
            self.budget.spend("copied", len(text) if length == _LINE_LENGTHS[0] else len(piece))
            if newline:
                self.at += len(text) + 1
                return text.decode(encoding)
        raise DamagedCheckpointError("the file ends too early, in a line of its pickle")

    # The stack and the memo.

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise ValueError("a mark stands where a value should")
        return value

    def pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (value := self.stack.pop()) is not MARK:
            items.append(value)
        items.reverse()
        return items

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise TypeError(f"a {type(value).__name__} stands where a {kind.__name__} should")
        return value

    def remember(self, index: int) -> None:
        value = self.stack[-1]
        if value is MARK:
            raise ValueError("a mark cannot be remembered")
        spent = self.budget.spent
        spent["memo"] += 1
        if spent["memo"] > self.budget.limits.memo:
            self.budget.refuse("memo")
        self.memo[index] = value

    # Effects of the opcodes.

    def text(self, form: str) -> None:
        piece = self.take(self.number(form))
        self.budget.spend("copied", len(piece))
        self.push(bytes(piece).decode("utf-8", "surrogatepass"))

    def bytes_(self, form: str) -> None:
        piece = self.take(self.number(form))
        if len(piece) <= _VIEW:
            self.budget.spend("copied", len(piece))
            piece = bytes(piece)
        self.push(piece)

    def integer(self, form: str) -> None:
        length = self.number(form)
        if length > _MAX_INTEGER_BYTES:
            raise UnsafeCheckpointError(f"the file has a whole number of {length:,} bytes")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def integer_line(self) -> None:
        text = self.line().removesuffix("L")
        if len(text) > 2 * _MAX_INTEGER_BYTES:
            raise UnsafeCheckpointError(f"the file has a whole number of {len(text):,} digits")
        self.push({"00": False, "01": True}.get(text, int(text)))

    def fill(self, pairs: list[Any]) -> None:
        top = self.stack[-1]
        target = top.entries if isinstance(top, Instance) else self.top(dict)
        if len(pairs) % 2:
            raise ValueError("a key has no value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            self.budget.check_key(key)
            target[key] = value

    def dict_of(self, pairs: list[Any]) -> None:
        self.push({})
        self.fill(pairs)

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def global_line(self) -> None:
        module, name = self.line(), self.line()
        self.name(module, name)

    def global_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a name is no text")
        self.name(module, name)

    def name(self, module: str, name: str) -> None:
        self.budget.reach("key_length", max(len(module), len(name)))  # a key of the makers
        self.push(Name(module, name))

    def call(self) -> None:
        args, function = self.pop(), self.pop()
        if not isinstance(function, Name) or type(args) is not tuple:
            raise UnsafeCheckpointError("the file calls something that is not a plain name")
        if not args and function not in self.makers and function.name[:1].isupper():
            # A class without arguments, as subclasses of `OrderedDict` are pickled.
            self.budget.spend("calls", 1)
            self.push(Instance(function))
            return
        if function not in self.makers:
            raise UnsafeCheckpointError(
                f"the file calls {function}, which is not on the list of what a checkpoint "
                "needs; nothing of it was executed"
            )
        if len(args) > _MAX_ARGUMENTS:
            raise UnsafeCheckpointError(f"the file calls {function} with {len(args):,} arguments")
        self.budget.spend("calls", 1)
        self.push(self.makers[function](self.budget, *args))

    def allocate(self) -> None:
        """The opcode NEWOBJ: a call of a class in the table, otherwise an inert object."""
        args, kind = self.stack[-1], self.stack[-2]
        if not isinstance(kind, Name) or type(args) is not tuple or kind in self.makers:
            self.call()
            return
        if len(args) > _MAX_ARGUMENTS:
            raise UnsafeCheckpointError(f"the file makes a {kind} of {len(args):,} arguments")
        self.budget.spend("calls", 1)
        del self.stack[-2:]
        self.push(Instance(kind, args))

    def build(self) -> None:
        self.budget.spend("calls", 1)
        state, target = self.pop(), self.stack[-1]
        set_state = getattr(target, "set_state", None)
        if set_state is not None:
            set_state(state)
        elif type(target) is not dict or type(state) is not dict:
            # The state of a dict, the attributes of an `OrderedDict` (versions of a state dict), is
            # ignored.
            raise TypeError(f"a {type(target).__name__} has no state")

    def persistent(self) -> None:
        if self.find_storage is None:
            raise UnsafeCheckpointError("the file refers to data outside of its pickle")
        self.budget.spend("calls", 1)
        self.push(self.find_storage(self.pop()))

    def append(self, items: list[Any]) -> None:
        top = self.stack[-1]
        (top.listed if isinstance(top, Instance) else self.top(list)).extend(items)

    def frozen_set_of(self, items: list[Any]) -> None:
        self.push(set())
        self.add(items)

    def add(self, items: list[Any]) -> None:
        target = self.top(set)
        for item in items:
            self.budget.check_key(item)
            target.add(item)
