"""A web server of one folder that answers as slowly as an object store: byte ranges, a delay, counts, faults.

It runs in a process of its own, so that its work is not counted as the reader's.
"""

import asyncio
import contextlib
import multiprocessing
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_HEAD_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, counted over requests of pixels, in this order of precedence."""

    statuses: tuple[int, ...] = ()
    """Answers of the first requests, instead of bytes."""
    broken: int = 0
    """How many answers after those break off half-way."""
    intact: int = 0
    """How many answers after those are good."""
    damaged: int = 0
    """How many answers after those have one byte changed."""


class RangeServer:
    """A running server. Use as a context manager.

    Attributes:
        href: address of the folder.
    """

    def __init__(self, folder: Path, delay_s: float = 0.0, faults: Faults | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._count: Synchronized[int] = context.Value("l", 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.listen(1024)
        self.href = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        arguments = (self._listener, folder, delay_s, faults or Faults(), self._count)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)

    def __enter__(self) -> "RangeServer":
        self._process.start()
        self._listener.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self._process.pid or 0

    @property
    def requests(self) -> int:
        """Answered so far."""
        return self._count.value

    @contextlib.contextmanager
    def counted(self) -> Iterator[list[int]]:
        """Fills a list with the number of requests made in the block."""
        before, found = self.requests, []
        yield found
        found.append(self.requests - before)


def _serve(listener: socket.socket, folder: Path, delay_s: float, faults: Faults, count: Any) -> None:
    handler = _Handler(folder, delay_s, faults, count)

    async def run() -> None:
        server = await asyncio.start_server(handler.serve, sock=listener, limit=_HEAD_BYTES)
        await server.serve_forever()

    asyncio.run(run())


class _Handler:
    def __init__(self, folder: Path, delay_s: float, faults: Faults, count: Any) -> None:
        self._folder, self._delay_s, self._faults, self._count = folder, delay_s, faults, count
        self._pixels = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                names = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                await asyncio.sleep(self._delay_s)
                self._count.value += 1
                await self._answer(writer, method, unquote(urlsplit(target).path), names.get("range"))
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, method: str, path: str, asked: str | None) -> None:
        file, nth = self._folder / path.lstrip("/"), -1
        if "/c/" in path and method == "GET":
            nth, self._pixels = self._pixels, self._pixels + 1
        if 0 <= nth < len(self._faults.statuses):
            return writer.write(_head(self._faults.statuses[nth], 0))
        if not file.is_file():
            return writer.write(_head(404, 0))
        size = file.stat().st_size
        start, stop = _span(asked, size)
        extra = f"Content-Range: bytes {start}-{stop - 1}/{size}\r\n" if asked else ""
        writer.write(_head(206 if asked else 200, stop - start, extra))
        if method == "GET":
            with file.open("rb", buffering=0) as stream:
                body = os.pread(stream.fileno(), stop - start, start)
            nth -= len(self._faults.statuses)
            if 0 <= nth < self._faults.broken:
                writer.write(body[: len(body) // 2])
                await writer.drain()
                raise ConnectionAbortedError
            if 0 <= nth - self._faults.broken - self._faults.intact < self._faults.damaged:
                middle = len(body) // 2
                body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
            writer.write(body)
        await writer.drain()


def _head(status: int, nbytes: int, extra: str = "") -> bytes:
    modified = formatdate(0, usegmt=True)
    return f"HTTP/1.1 {status} x\r\nContent-Length: {nbytes}\r\nLast-Modified: {modified}\r\n{extra}\r\n".encode()


def _span(asked: str | None, size: int) -> tuple[int, int]:
    """First byte and the one after the last that a Range header asks for."""
    if asked is None:
        return 0, size
    first, _, last = asked.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
