"""Where the files of a corpus lie: a local folder, or a prefix of an object store or web server, read in ranges.

Local paths need nothing more than the base install; `https://`, `http://`, `s3://`, `gs://` and `az://` need the
extra `remote` (obstore). Credentials come from the environment, as obstore's stores find them; public buckets of S3
and Google are read without any by setting AWS_SKIP_SIGNATURE or GOOGLE_SKIP_SIGNATURE to true.
"""

import contextlib
import functools
import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, cast

from catalog.documents import read_document
from catalog.errors import CorpusError, StoreError

T = TypeVar("T")
R = TypeVar("R")

SCHEMES = ("https", "http", "s3", "gs", "az", "abfs", "abfss")
CONNECTIONS = 128  # requests in flight; at 40 ms each, 64 carry three quarters of the patches, 192 a sixth more
_TIMEOUT_S = 60  # of one request, with the bytes of a block of patches
_MAX_RETRIES = 6  # of one request by obstore, for 429, 5xx and refused connections: 0.2 s, doubling
_MAX_DESCRIPTORS = 64
_BROKEN_BODIES = 3  # tries where an answer broke off, which obstore hands on


class Store(Protocol):
    """Files under one address. Safe to use from many threads."""

    @property
    def href(self) -> str:
        """The address that paths start from."""

    @property
    def is_remote(self) -> bool:
        """Whether a read is a request, so that few large and concurrent ones are better than many small ones."""

    def read(self, path: str, start: int, nbytes: int) -> bytes:
        """Bytes of a range; fewer where the file ends before.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: the store does not answer as it should.
        """

    def borrow(self, path: str, start: int, nbytes: int) -> bytes | memoryview:
        """The same as `read` without a copy of its own: good until this thread borrows again, from any store."""

    def read_tail(self, path: str, nbytes: int) -> bytes:
        """The last bytes of a file; raises as `read` does."""

    def read_all(self, path: str) -> bytes:
        """A whole file; raises as `read` does."""

    def size(self, path: str) -> int:
        """Bytes of a file; raises as `read` does."""

    def address(self, path: str) -> str:
        """Where a file lies, for messages."""

    def open(self, path: str) -> BinaryIO:
        """A file to seek in; raises as `read` does."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """`function` of every item, at once where that hides waiting."""

    def zarr(self, path: str) -> Any:
        """What zarr-python opens as a store with its root at `path`."""


_of_thread = threading.local()


def _scratch(nbytes: int) -> memoryview:
    """Memory of this thread, the same every time."""
    memory: memoryview | None = getattr(_of_thread, "memory", None)
    if memory is None or len(memory) < nbytes:
        memory = _of_thread.memory = memoryview(bytearray(nbytes))
    return memory[:nbytes]


class _Descriptor:
    """An open file, closed when the last one who reads it lets go."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it could not be opened
            os.close(self.number)


class LocalStore:
    """A folder. Keeps the last 64 files open: opening one costs a tenth of what decoding a patch does."""

    is_remote = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._prefix = "" if root == Path() else f"{root}/"
        self._opened = functools.lru_cache(_MAX_DESCRIPTORS)(_Descriptor)

    @property
    def href(self) -> str:
        """The folder, as it was given."""
        return str(self.root)

    def read(self, path: str, start: int, nbytes: int) -> bytes:
        """Bytes of a range."""
        file = self._open_file(path)  # held on to until it is read, or another thread's file might close it
        return os.pread(file.number, nbytes, start)

    def borrow(self, path: str, start: int, nbytes: int) -> memoryview:
        """Bytes of a range, in memory that stays in the processor's cache from one chunk to the next."""
        file, memory = self._open_file(path), _scratch(nbytes)
        return memory[: os.preadv(file.number, [memory], start)]

    def read_tail(self, path: str, nbytes: int) -> bytes:
        """The last bytes of a file."""
        return self.read(path, max(0, (self.root / path).stat().st_size - nbytes), nbytes)

    def read_all(self, path: str) -> bytes:
        """A whole file."""
        return (self.root / path).read_bytes()

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return (self.root / path).stat().st_size

    def address(self, path: str) -> str:
        """Where a file lies."""
        return str(self.root / path)

    def open(self, path: str) -> BinaryIO:
        """A file to seek in."""
        return (self.root / path).open("rb")

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """One after the other: a local read waits for nothing."""
        return [function(item) for item in items]

    def zarr(self, path: str) -> Any:
        """The folder's path."""
        return self.root / path

    def close(self) -> None:
        """Let go of the files that are kept open; a read opens its own again."""
        self._opened.cache_clear()

    def _open_file(self, path: str) -> _Descriptor:
        return self._opened(path if path.startswith("/") else self._prefix + path)


class RemoteStore:
    """A prefix of an object store or web server; transient failures are tried again, waiting longer each time."""

    is_remote = True

    def __init__(self, href: str, connections: int = CONNECTIONS) -> None:
        self.href = href.rstrip("/")
        self._store = _connect(self.href, connections)
        self._connections = connections
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def read(self, path: str, start: int, nbytes: int) -> bytes:
        """Bytes of a range, in one request."""
        return bytes(self.borrow(path, start, nbytes))

    def borrow(self, path: str, start: int, nbytes: int) -> memoryview:
        """Bytes of a range, in one request, where they arrived."""
        import obstore

        return self._ask(path, lambda: memoryview(obstore.get_range(self._store, path, start=start, length=nbytes)))

    def read_tail(self, path: str, nbytes: int) -> bytes:
        """The last bytes of a file, in one request."""
        import obstore

        return self._ask(
            path, lambda: obstore.get(self._store, path, options={"range": {"suffix": nbytes}}).bytes().to_bytes()
        )

    def read_all(self, path: str) -> bytes:
        """A whole file, in one request."""
        import obstore

        return self._ask(path, lambda: obstore.get(self._store, path).bytes().to_bytes())

    def size(self, path: str) -> int:
        """Bytes of a file, in one request without its bytes."""
        import obstore

        return int(self._ask(path, lambda: obstore.head(self._store, path)["size"]))

    def address(self, path: str) -> str:
        """The URL of a file."""
        return f"{self.href}/{path}"

    def open(self, path: str) -> BinaryIO:
        """A file to seek in."""
        return cast(BinaryIO, _RangeFile(self, path, self.size(path)))

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """All at once, as many as there are connections."""
        if len(items) < 2:
            return [function(item) for item in items]
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._connections, thread_name_prefix="remote-store")
        return list(self._pool.map(function, items))

    def zarr(self, path: str) -> Any:
        """A store of zarr-python's over the same connections."""
        from zarr.storage import ObjectStore

        return ObjectStore(_connect(f"{self.href}/{path}", self._connections), read_only=True)

    def _ask(self, path: str, request: Callable[[], T]) -> T:
        for remaining in reversed(range(_BROKEN_BODIES)):
            try:
                with reported_failures(self, path):
                    return request()
            except StoreError as error:
                if not remaining or "body" not in str(error.__cause__):
                    raise
                time.sleep(0.2 * (_BROKEN_BODIES - remaining))
        raise AssertionError("unreachable")


class _RangeFile(io.RawIOBase):
    """A remote file to seek in; each read is a request."""

    def __init__(self, store: RemoteStore, path: str, nbytes: int) -> None:
        self._store, self._path, self._nbytes, self._position = store, path, nbytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._nbytes)[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._nbytes - self._position)
        wanted = left if size < 0 else min(size, left)
        block = self._store.read(self._path, self._position, wanted) if wanted else b""
        self._position += len(block)
        return block


@contextlib.contextmanager
def reported_failures(store: Store, path: str) -> Iterator[None]:
    """Turn what obstore raises in the block, also under zarr-python, into errors that name the place.

    Raises:
        FileNotFoundError: there is no such file.
        StoreError: the store does not answer as it should.
    """
    if not store.is_remote:
        yield
        return
    from obstore.exceptions import BaseError

    where = store.address(path)
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(where) from error
    except (BaseError, OSError) as error:
        reason = str(error).partition("\n")[0][:300]
        raise StoreError(
            f"{where} cannot be read ({reason}); check the address, your credentials and the network, then run again"
        ) from error


def is_remote(href: str | Path) -> bool:
    """Whether an address is a URL of an object store or web server."""
    scheme, found, _ = str(href).partition("://")
    return bool(found) and scheme.lower() in SCHEMES


def open_store(href: str | Path) -> Store:
    """The store with its root at a folder or URL.

    Raises:
        CorpusError: a scheme that this software cannot read, or the extra `remote` is not installed.
    """
    if is_remote(href):
        return RemoteStore(str(href))
    scheme, found, rest = str(href).partition("://")
    if found and scheme != "file":
        raise CorpusError(f"{href}: addresses of {scheme}:// cannot be read; give a folder or {', '.join(SCHEMES)}://")
    return LocalStore(Path(rest if found else href))


def read_json(store: Store, path: str, cure: str, members: Iterable[str] = ()) -> dict[str, Any]:
    """Read a JSON object from a store, as `catalog.documents.read_document` does from a folder.

    Raises:
        CorpusError: the file is missing, is no JSON object, or lacks a member.
        StoreError: the store does not answer.
    """
    if isinstance(store, LocalStore):
        return read_document(store.root / path, cure, members)
    where = store.address(path)
    try:
        document = json.loads(store.read_all(path))
    except FileNotFoundError as error:
        raise CorpusError(f"there is no {where}; {cure}") from error
    except ValueError as error:
        raise CorpusError(f"{where} cannot be read ({error}); {cure}") from error
    if not isinstance(document, dict) or (missing := [name for name in members if name not in document]):
        raise CorpusError(
            f"{where} {'lacks ' + ', '.join(missing) if isinstance(document, dict) else 'is no JSON object'}; {cure}"
        )
    return document


@functools.cache
def _connect(href: str, connections: int) -> Any:
    """A store of obstore's; one for each address, so that connections are shared."""
    try:
        from obstore.store import HTTPStore, from_url
    except ImportError as error:
        raise CorpusError(
            f"{href} is read with obstore, which is not installed; pip install 'deepsentinel[remote]'"
        ) from error
    web = href.startswith(("http://", "https://"))
    if web and "?" in href:
        base = href.partition("?")[0]
        raise CorpusError(f"{base}: addresses with a query cannot be read; use az:// or s3:// with a key")
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=_TIMEOUT_S),
        "connect_timeout": timedelta(seconds=10),
        "pool_max_idle_per_host": str(connections),
        "allow_http": href.startswith("http://"),
    }
    retry: Any = {
        "max_retries": _MAX_RETRIES,
        "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=10), "base": 2},
        "retry_timeout": timedelta(seconds=120),
    }
    make: Any = HTTPStore.from_url if web else from_url
    return make(href, client_options=options, retry_config=retry)
