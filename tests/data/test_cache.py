import os

import pytest
import torch

from trueline.data._cache import cached


@pytest.fixture
def counted(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUELINE_CACHE", str(tmp_path / "deep" / "cache"))
    path = tmp_path / "shard"
    path.write_bytes(b"12")
    calls = []

    def get():
        def make():
            calls.append(1)
            return torch.arange(4, dtype=torch.uint8)

        assert torch.equal(cached(path, make), torch.arange(4))
        return len(calls)

    return get, path, tmp_path / "deep" / "cache"


def test_a_file_is_made_once(counted) -> None:
    get, _, cache = counted
    assert [get(), get()] == [1, 1]
    assert [entry.suffix for entry in cache.iterdir()] == [".safetensors"]


def test_a_changed_file_is_made_again(counted) -> None:
    get, path, _ = counted
    get()
    path.write_bytes(b"123")
    assert get() == 2
    os.utime(path, ns=(0, 0))
    assert get() == 3


def test_a_damaged_entry_is_made_again(counted) -> None:
    get, _, cache = counted
    get()
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    for damaged in (b"", b"damaged", whole[:-1]):
        entry.write_bytes(damaged)
        before = get()
        assert get() == before
    assert before == 4
    assert entry.read_bytes() == whole


def test_a_folder_that_cannot_be_written_only_costs_time(counted) -> None:
    get, _, cache = counted
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    assert [get(), get()] == [1, 2]
