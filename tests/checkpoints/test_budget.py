"""The work that a file may cost: counted, enough for real files, and bounded to the last unit."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from perceptual_jax.checkpoints.untrusted.budget import LIMITS, Budget, Limits
from perceptual_jax.checkpoints.untrusted.inert import UnknownFormatError, UnsafeCheckpointError
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from tests.helpers.exhausting_files import AMPLIFIED, EXACT
from tests.helpers.hostile_files import HOSTILE, PKL
from tests.helpers.real_size import network_pickle, pretend_to_have_torch, training_state


def spent(path, data, **limits):
    """What reading costs, whether the file turns out to be a checkpoint or not."""
    path.write_bytes(data)
    budget = Budget(Limits(**limits))
    with contextlib.suppress(UnknownFormatError):
        read_checkpoint(path, budget=budget)
    return budget.spent


def test_every_kind_of_work_has_a_file_that_costs_it():
    assert EXACT.keys() == set(Limits._fields) == LIMITS._asdict().keys()


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("limit", [60, 61])
def test_a_file_may_cost_the_limit_and_no_more(kind, limit, tmp_path):
    path = tmp_path / "file.pkl"
    assert spent(path, EXACT[kind](limit), **{kind: limit})[kind] == limit
    with pytest.raises(
        UnsafeCheckpointError, match=f"more than {limit} .* a tenth of that; if its"
    ):
        spent(path, EXACT[kind](limit + 1), **{kind: limit})


@pytest.mark.parametrize("kind", ["opcodes", "stack", "copied", "odd_keys", "key_length"])
def test_a_file_may_cost_the_usual_limit_and_no_more(kind, tmp_path):
    limit, path = getattr(LIMITS, kind), tmp_path / "file.pkl"
    assert spent(path, EXACT[kind](limit))[kind] == limit
    with pytest.raises(UnsafeCheckpointError, match=f"more than {limit:,} "):
        spent(path, EXACT[kind](limit + 1))


def test_a_budget_is_for_all_of_a_file(tmp_path):
    # Each tensor of NVIDIA's lies in pickles of its own within the network's.
    whole = spent(tmp_path / "file.pkl", PKL)
    assert whole["arrays"] == 2 * 4
    for kind in ("opcodes", "calls", "copied", "arrays", "items"):
        with pytest.raises(UnsafeCheckpointError, match=f"more than {whole[kind] - 1:,} "):
            spent(tmp_path / "file.pkl", PKL, **{kind: whole[kind] - 1})
    assert spent(tmp_path / "file.pkl", PKL, **whole) == whole


@pytest.mark.parametrize(
    ("write", "arrays"),
    [(network_pickle, {"G": 182, "D": 90, "G_ema": 182}), (training_state, {"g": 300, "d": 100})],
)
def test_real_files_are_far_from_every_limit(write, arrays, tmp_path, monkeypatch):
    pretend_to_have_torch(monkeypatch)
    path, budget = tmp_path / "real.pkl", Budget()
    path.write_bytes(write())
    networks = read_checkpoint(path, budget=budget).networks
    assert {name: len(networks[name].arrays) for name in arrays} == arrays
    shares = {kind: budget.spent[kind] / getattr(LIMITS, kind) for kind in budget.spent}
    assert max(shares.values()) < 1 / 8, shares
    # And the limits are no larger than the structure of real files asks for.
    assert shares["opcodes"] > 1 / 20


ROOM = 100 * 2**20
"""Bytes that reading a hostile file may take; at the limits it takes some 20 MB."""

CHILD = f"""
import json, pathlib, resource, sys
from tests.helpers.exhausting_files import AMPLIFIED
from tests.helpers.hostile_files import HOSTILE
from perceptual_jax.checkpoints.untrusted.budget import Budget
from perceptual_jax.checkpoints.untrusted.readers import read_checkpoint
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError
import h5py

pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {ROOM},) * 2)
try:
    bytearray({2 * ROOM})
except MemoryError:
    outcomes = {{}}
path = pathlib.Path(sys.argv[1])
for name, (data, _) in (AMPLIFIED | HOSTILE).items():
    path.write_bytes(data)
    budget = Budget()
    try:
        read_checkpoint(path, budget=budget)
    except CheckpointError as error:
        outcomes[name] = str(error), budget.spent
print(json.dumps(outcomes))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """How each hostile file is refused by a process that has little memory."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("the size of a process is known, and bounded, on Linux only")
    path = tmp_path_factory.mktemp("hostile") / "file.pkl"
    folders = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    # The time is for what does not end at all; the child takes two seconds.
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        env=os.environ | {"PYTHONPATH": folders},
        stdout=subprocess.PIPE,
        check=True,
        timeout=600,
    )
    return json.loads(child.stdout)


@pytest.mark.parametrize("name", AMPLIFIED)
def test_small_files_that_ask_for_much_work_are_refused(name, outcomes):
    message, spent = outcomes[name]
    assert re.search(AMPLIFIED[name][1], message)
    assert len(message) < 400
    # One step may count many items before it looks at any: a state dict of 500 tensors.
    assert all(spent[kind] <= 1.1 * getattr(LIMITS, kind) for kind in spent)


def test_hostile_files_take_little_memory(outcomes):
    found = {name: outcomes[name][0] for name in HOSTILE}
    assert [name for name, said in found.items() if not re.search(HOSTILE[name][1], said)] == []
