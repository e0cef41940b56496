"""The pickle opcodes that `unpickle` supports, and their effect on its stack machine.

All others are refused: INST and OBJ, which call classes; EXT, which names them by number; and
buffers outside of a pickle.

Source: the documentation of Python's `pickletools`.
"""

from collections.abc import Callable
from typing import Any

Handler = Callable[[Any], Any]
"""Executes one opcode; its argument is the machine."""


class _Mark:
    pass


MARK = _Mark()
"""Marker on the stack before the items of a list, tuple or dict."""


def _recall(form: str) -> Handler:
    return lambda m: m.push(m.memo[m.number(form)])


def _ignore(count: int) -> Handler:
    return lambda m: m.take(count)


HANDLERS: dict[int, Handler] = {
    ord(code): handler
    for code, handler in {
        "\x80": _ignore(1),  # PROTO
        "\x95": _ignore(8),  # FRAME
        "(": lambda m: m.stack.append(MARK),
        "0": lambda m: m.stack.pop(),
        "1": lambda m: m.pop_to_mark(),
        "2": lambda m: m.stack.append(m.stack[-1]),
        "N": lambda m: m.stack.append(None),
        "\x88": lambda m: m.stack.append(True),
        "\x89": lambda m: m.stack.append(False),
        "J": lambda m: m.push(m.number("<i")),
        "K": lambda m: m.push(m.number("<B")),
        "M": lambda m: m.push(m.number("<H")),
        "\x8a": lambda m: m.integer("<B"),
        "\x8b": lambda m: m.integer("<I"),
        "I": lambda m: m.integer_line(),
        "L": lambda m: m.integer_line(),
        "G": lambda m: m.push(m.number(">d")),
        "F": lambda m: m.push(float(m.line())),
        "X": lambda m: m.text("<I"),
        "\x8c": lambda m: m.text("<B"),
        "\x8d": lambda m: m.text("<Q"),
        "V": lambda m: m.push(m.line("raw-unicode-escape")),
        "U": lambda m: m.bytes_("<B"),  # texts of Python 2
        "T": lambda m: m.bytes_("<i"),
        "B": lambda m: m.bytes_("<I"),
        "C": lambda m: m.bytes_("<B"),
        "\x8e": lambda m: m.bytes_("<Q"),
        "\x96": lambda m: m.bytes_("<Q"),  # BYTEARRAY8
        "]": lambda m: m.stack.append([]),
        "}": lambda m: m.stack.append({}),
        ")": lambda m: m.stack.append(()),
        "\x8f": lambda m: m.stack.append(set()),
        "l": lambda m: m.push(m.pop_to_mark()),
        "t": lambda m: m.push(tuple(m.pop_to_mark())),
        "d": lambda m: m.dict_of(m.pop_to_mark()),
        "\x85": lambda m: m.tuple_of(1),
        "\x86": lambda m: m.tuple_of(2),
        "\x87": lambda m: m.tuple_of(3),
        "a": lambda m: m.append([m.pop()]),
        "e": lambda m: m.append(m.pop_to_mark()),
        "s": lambda m: m.fill([m.pop(), m.pop()][::-1]),
        "u": lambda m: m.fill(m.pop_to_mark()),
        "\x90": lambda m: m.add(m.pop_to_mark()),
        "\x91": lambda m: m.frozen_set_of(m.pop_to_mark()),  # FROZENSET
        "p": lambda m: m.remember(int(m.line())),
        "q": lambda m: m.remember(m.number("<B")),
        "r": lambda m: m.remember(m.number("<I")),
        "\x94": lambda m: m.remember(len(m.memo)),
        "g": lambda m: m.push(m.memo[int(m.line())]),
        "h": _recall("<B"),
        "j": _recall("<I"),
        "c": lambda m: m.global_line(),
        "\x93": lambda m: m.global_stack(),
        "R": lambda m: m.call(),
        "\x81": lambda m: m.allocate(),  # NEWOBJ: `__new__` of a class
        "b": lambda m: m.build(),
        "Q": lambda m: m.persistent(),
    }.items()
}
"""Handlers by opcode."""
