import errno

import pytest
from filelock import FileLock

from perceptual_jax.io.locks import file_lock


def test_a_lock_is_of_one_holder_at_a_time_and_free_again_afterwards(tmp_path):
    path = tmp_path / "a.lock"
    for _ in range(2):
        with file_lock(path) as first, file_lock(path, timeout=0.05, poll=0.01) as second:
            assert (first, second) == (True, False)


def test_where_a_file_system_has_no_locks_none_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with file_lock(tmp_path / "a.lock") as held:
        assert held


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), file_lock(tmp_path / "file" / "a.lock"):
        pass
