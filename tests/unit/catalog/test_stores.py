import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from catalog import fake, schema
from catalog.reader import ShardReader
from catalog.shard import shard_path, write_shard
from catalog.stores import LocalStore


@pytest.fixture
def store(tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(100)))
    return LocalStore(tmp_path)


@pytest.mark.parametrize("start, nbytes", [(0, 100), (7, 5), (95, 20), (100, 4)])
def test_borrowed_bytes_are_those_that_are_read(store, start, nbytes):
    assert bytes(store.borrow("file", start, nbytes)) == store.read("file", start, nbytes)


def test_bytes_that_one_thread_borrowed_are_not_overwritten_by_another(store):
    mine, others = store.borrow("file", 0, 10), []
    thread = threading.Thread(target=lambda: others.append(bytes(store.borrow("file", 50, 10))))
    thread.start()
    thread.join()
    assert bytes(mine) == bytes(range(10))
    assert others == [bytes(range(50, 60))]


def test_many_threads_of_one_reader_each_get_their_patch(tmp_path):
    (tmp_path / "shards").mkdir()
    patches = list(fake.fake_patches(4, side_px=32))
    write_shard(tmp_path, 0, patches)
    reader = ShardReader(shard_path(tmp_path, 0))
    stored = [schema.arrays_of(patch)["s1"] for patch in patches]

    def read(row):
        out = np.empty_like(stored[row])
        reader.read_into("s1", row, out)
        return np.array_equal(out, stored[row])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, [i % 4 for i in range(400)]))
