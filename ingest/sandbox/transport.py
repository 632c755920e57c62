"""An HTTP/1.1 server on the loopback interface: keep-alive, one thread a connection, files sent by slices."""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from catalog.errors import DeepSentinelError
from ingest.sandbox.replies import FileReply, Reply

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 18

Answer = Callable[[str, str, str | None, bytes], Reply | FileReply]
"""From method, target (a path, or a URL when asked as a proxy), Range header and body to a reply."""


class LoopbackServer(ThreadingHTTPServer):
    """Runs in a thread of its own; can be stopped while clients keep connections open."""

    daemon_threads = False  # so that `server_close` waits for them
    request_queue_size = 128

    def __init__(self, port: int, answer: Answer, sent: Callable[[int], object]) -> None:
        """Bind 127.0.0.1; `sent` is told the size of every piece of a file that went out.

        Args:
            port: 0 for a free one, then found in `server_port`.
            answer: called from many threads.
            sent: called from many threads.

        Raises:
            DeepSentinelError: the port is taken.
        """
        self.answer = answer
        self.sent = sent
        self._open: set[socket.socket] = set()
        self._stopping = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="sandbox", daemon=True)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise DeepSentinelError(f"cannot listen on 127.0.0.1:{port}: {error}; choose another port") from error

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, hang up on every client and wait for their threads."""
        self.shutdown()
        with self._lock:
            self._stopping = True
            for connection in self._open:
                _hang_up(connection)
        self.server_close()
        self._thread.join()

    def opened(self, connection: socket.socket) -> None:
        """Remember a connection; one whose thread starts only after `stop` began is closed at once."""
        with self._lock:
            self._open.add(connection)
            if self._stopping:
                _hang_up(connection)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: LoopbackServer

    def setup(self) -> None:
        """Register the connection, so that `stop` can close it."""
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        """Unregister it."""
        self.server.closed(self.connection)
        super().finish()

    def handle(self) -> None:
        """Answer requests until either side hangs up."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer GET, HEAD and POST alike."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.server.answer(self.command, self.path, self.headers.get("Range"), body)
        log.debug("%s %s -> %d", self.command, self.path.partition("?")[0], reply.status)
        length = len(reply.body) if isinstance(reply, Reply) else reply.stop - reply.start
        self._send_head(reply, length)
        if self.command == "HEAD":
            return
        self.close_connection |= reply.cut
        sent = length // 2 if reply.cut else length
        if isinstance(reply, Reply):
            self.wfile.write(reply.body[:sent])
        else:
            self._send_file(reply, sent)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def _send_head(self, reply: Reply | FileReply, length: int) -> None:
        self.send_response(reply.status)
        headers = dict(reply.headers) | {"Content-Length": str(length)}
        if isinstance(reply, Reply):
            headers["Content-Type"] = reply.content_type
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_file(self, reply: FileReply, length: int) -> None:
        file = os.open(reply.path, os.O_RDONLY)
        try:
            for start in range(reply.start, reply.start + length, _CHUNK_BYTES):
                piece = os.pread(file, min(_CHUNK_BYTES, reply.start + length - start), start)
                self.wfile.write(piece)
                self.server.sent(len(piece))
        finally:
            os.close(file)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests go to this module's logger instead."""


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client was faster
        connection.shutdown(socket.SHUT_RDWR)
