"""Which process of a job restores what.

A picture belongs to the process that the hash of its name falls to: a matter of the name and of
the number of processes alone. So any number of processes can go on with what any other number
began, and none of them has to hear of another.
"""

import dataclasses
import hashlib

from perceptual_jax.config import UsageError


@dataclasses.dataclass(frozen=True)
class Share:
    """One process among those of a job; the default is the only one."""

    index: int = 0
    count: int = 1

    def owns(self, name: str) -> bool:
        """Whether a picture of this name is restored by this process.

        Example:
            >>> [[name for name in "abcdef" if Share(i, 2).owns(name)] for i in (0, 1)]
            [['a', 'b', 'c', 'e', 'f'], ['d']]
        """
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index

    def file(self, stem: str, end: str) -> str:
        """The name of a file of this process: plain where there is only one.

        Example:
            >>> Share().file("results", ".jsonl"), Share(2, 4).file("results", ".jsonl")
            ('results.jsonl', 'results-00002.jsonl')
        """
        return f"{stem}{end}" if self.count == 1 else f"{stem}-{self.index:05d}{end}"


def join(
    *,
    distributed: bool = False,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> Share:
    """Meets the other processes through JAX's multi-controller runtime, if asked for.

    Args:
        distributed: Find the others: on TPU pods, under SLURM and Open MPI.
        coordinator: Address and port of the first process, to name them all by hand.
        num_processes: With it, how many there are.
        process_id: With it, which one this is, from 0.

    Returns:
        Which process this is.

    Raises:
        UsageError: If they are incomplete, or the others are not found.
    """
    by_hand = (coordinator, num_processes, process_id)
    if not distributed and by_hand == (None, None, None):
        return Share()
    if not distributed and None in by_hand:
        raise UsageError(
            "coordinator, num_processes and process_id go together; name all three, or use "
            "--distributed alone"
        )
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
        share = Share(jax.process_index(), jax.process_count())
        # Nothing more is exchanged. Left alone, no process is ended by the death of another, and
        # none that is done waits for the others.
        jax.distributed.shutdown()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"the other processes of this job cannot be found ({reason})") from error
    return share
