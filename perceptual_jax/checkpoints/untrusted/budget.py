"""Counts and bounds the work of reading one untrusted file.

A pickle is a program, and a small one can ask for much: a value that was made once is used again
for two opcodes, so that lists of lists grow exponentially, a long text is copied ten thousand
times, or whole numbers are chosen so that their hashes collide. A limit in seconds would differ
between machines; the counts here are the same on all of them. One budget covers everything that
is read from a file: its pickle, the pickles nested in it, and the arrays of both.
"""

from typing import Any, NamedTuple, NoReturn

from perceptual_jax.checkpoints.untrusted.inert import Name, UnsafeCheckpointError


class Limits(NamedTuple):
    """Upper limits of each kind of work for one file, some ten times those of real checkpoints.

    The numbers in the comments are those of the largest real checkpoints, counted in files of the
    same structure (the tests write them): NVIDIA's pickle of G, D and G_ema at 1024 px as torch 2
    writes it, with 183 modules and 454 tensors, each in a stream of its own; and, for "torch", a
    training state of two networks, an average and two optimisers, with 1,500 tensors.
    """

    opcodes: int = 700_000  # 69,000; torch 46,000
    stack: int = 30_000  # torch 630; Python's pickler puts at most 1,000 items of a dict there
    memo: int = 200_000  # 19,000; torch 10,000
    calls: int = 60_000  # 5,400, with the references to storages and the states of objects
    copied: int = 8 * 2**20  # bytes, 360,000: strings, short byte strings, and names of arrays
    items: int = 100_000  # 6,400: visited or copied in containers after their construction
    arrays: int = 20_000  # 908, as a tensor's own stream counts too; torch 700 in networks
    odd_keys: int = 5_000  # none; torch 400: keys that are not strings, whose hashes may collide
    key_length: int = 1_000  # 46 characters


LIMITS = Limits()
"""The limits that `read_checkpoint` applies by default."""

_WORDS = {
    "opcodes": "opcodes",
    "stack": "values at once on its stack",
    "memo": "memo entries",
    "calls": "calls",
    "copied": "bytes of texts and names",
    "items": "items in containers",
    "arrays": "arrays",
    "odd_keys": "keys that are no texts",
    "key_length": "characters in one key",
}


class Budget:
    """Counts the work of reading one file, and refuses the file when it exceeds its limits.

    `spent` maps the fields of `Limits` to the work so far: `stack` and `key_length` are maxima,
    the others are sums.
    """

    def __init__(self, limits: Limits = LIMITS):
        """Starts with all counts at zero."""
        self.limits = limits
        self.spent = dict.fromkeys(Limits._fields, 0)

    def spend(self, kind: str, count: int) -> None:
        """Adds to the sum of one kind of work.

        Args:
            kind: A field of `Limits`.
            count: Amount of work that is about to be done.

        Raises:
            UnsafeCheckpointError: If the limit is exceeded.
        """
        self.spent[kind] += count
        if self.spent[kind] > getattr(self.limits, kind):
            self.refuse(kind)

    def reach(self, kind: str, level: int) -> None:
        """Updates the maximum of one kind of work, such as the depth of the stack.

        Args:
            kind: A field of `Limits`.
            level: The current value.

        Raises:
            UnsafeCheckpointError: If the limit is exceeded.
        """
        self.spent[kind] = max(self.spent[kind], level)
        if level > getattr(self.limits, kind):
            self.refuse(kind)

    def check_key(self, key: Any) -> None:
        """Counts a key before it is hashed and compared.

        Args:
            key: A key of a dict or an item of a set in the file.

        Raises:
            UnsafeCheckpointError: If the key is not a plain value, is too long, or exceeds the
                number of keys that are not strings.
        """
        if type(key) is str:
            self.reach("key_length", len(key))
            return
        parts = key if type(key) in (tuple, Name) else (key,)
        plain = len(parts) < 16 and all(
            part is None or type(part) in (int, bool, bytes, str, Name) for part in parts
        )
        if not plain:
            raise UnsafeCheckpointError(f"the file has a {type(key).__name__} as a key")
        self.spend("odd_keys", 1)
        for part in parts:
            if isinstance(part, str | bytes):
                self.reach("key_length", len(part))

    def refuse(self, kind: str) -> NoReturn:
        """Refuses the file because it exceeds a limit.

        Args:
            kind: A field of `Limits`.

        Raises:
            UnsafeCheckpointError: Always.
        """
        raise UnsafeCheckpointError(
            f"the file has more than {getattr(self.limits, kind):,} {_WORDS[kind]} where real "
            "checkpoints have a tenth of that; if its origin can be trusted, save its state_dict() "
            "as safetensors"
        )
