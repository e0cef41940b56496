"""The work that reading one file of others' may cost, counted and bounded.

A pickle is a program, and a small one can ask for much: a value that was made once is used again
for two opcodes, so that lists of lists grow exponentially, a long text is copied ten thousand
times, or whole numbers are chosen so that their hashes collide. A limit in seconds would differ
between machines; what is counted here is the same on all of them. One budget is for all that is
read of a file: its pickle, the pickles within it, and the arrays that are gathered of both.
"""

from typing import Any, NamedTuple, NoReturn

from perceptual_jax.checkpoints.inert import Name, UnsafeCheckpointError


class Limits(NamedTuple):
    """The most of each kind of work that a file may cost: some ten times what real files need.

    The numbers in the comments are what the largest of them need, counted in files of the same
    structure (the tests write them): NVIDIA's pickle of G, D and G_ema at 1024 px as torch 2 writes
    it, with 183 modules and 454 tensors, each in a stream of its own; and, for "torch", a training
    state of two networks, an average and two optimisers, with 1,500 tensors.
    """

    opcodes: int = 700_000  # 69,000; torch 46,000
    stack: int = 30_000  # torch 630; Python's pickler puts at most 1,000 items of a dict there
    memo: int = 200_000  # 19,000; torch 10,000
    calls: int = 60_000  # 5,400, with the references to storages and the states of objects
    copied: int = 8 * 2**20  # bytes, 360,000: texts, short byte strings, and the names of arrays
    items: int = 100_000  # 6,400: looked at or copied in containers, after they were made
    arrays: int = 20_000  # 908, as a tensor's own stream counts too; torch 700 in networks
    odd_keys: int = 5_000  # none; torch 400: keys that are no texts, whose hashes may collide
    key_length: int = 1_000  # 46 characters


LIMITS = Limits()
"""What `read_checkpoint` allows."""

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

    `spent` has the work so far by the fields of `Limits`; `stack` and `key_length` are the largest
    so far, the others are sums.
    """

    def __init__(self, limits: Limits = LIMITS):
        """Starts at nothing."""
        self.limits = limits
        self.spent = dict.fromkeys(Limits._fields, 0)

    def spend(self, kind: str, count: int) -> None:
        """Adds to a sum.

        Args:
            kind: A field of `Limits`.
            count: How much is about to be done.

        Raises:
            UnsafeCheckpointError: If that is more than the limit.
        """
        self.spent[kind] += count
        if self.spent[kind] > getattr(self.limits, kind):
            self.refuse(kind)

    def reach(self, kind: str, level: int) -> None:
        """Raises a maximum; like `spend`, but for what does not add up.

        Args:
            kind: A field of `Limits`.
            level: How much there is now.

        Raises:
            UnsafeCheckpointError: If that is more than the limit.
        """
        self.spent[kind] = max(self.spent[kind], level)
        if level > getattr(self.limits, kind):
            self.refuse(kind)

    def check_key(self, key: Any) -> None:
        """Counts a key before it is hashed and compared.

        Args:
            key: Of a dict or a set of the file's.

        Raises:
            UnsafeCheckpointError: If it is no plain value, too long, or one of too many.
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
        """Says which limit the file exceeds.

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
