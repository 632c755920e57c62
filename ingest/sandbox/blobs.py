"""Blob storage as Azure answers it: signed containers, byte ranges, errors in XML."""

import email.utils
import re
from pathlib import Path

from catalog.errors import DeepSentinelError
from ingest.sandbox.faults import Faults, due
from ingest.sandbox.items import blob_path
from ingest.sandbox.replies import FileReply, Reply
from ingest.sandbox.snapshot import Snapshot
from ingest.sandbox.tally import Tally
from ingest.sandbox.tokens import TokenOffice, serial_of

HOST = ".blob.core.windows.net"
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


class UnsatisfiableRangeError(DeepSentinelError):
    """A byte range that starts behind the end of its file."""


class BlobStore:
    """Answers GET and HEAD of blob URLs from an archive's files; safe to share between threads."""

    def __init__(self, archive: Path, office: TokenOffice, tally: Tally, faults: Faults) -> None:
        self._root = archive / "blobs"
        self._office = office
        self._tally = tally
        self._faults = faults
        self._early_tokens: set[str] = set()
        self._snapshot = Snapshot(archive, faults.hides)

    def get(self, url: str, byte_range: str | None) -> Reply | FileReply:
        """Answer a request for a blob's full URL; `byte_range` is the value of the Range header."""
        count = self._tally.add("blob")
        if due(self._faults.blob_503_every, count):
            return error_reply(503, "ServerBusy", "Egress is over the account limit.")
        try:
            blob = blob_path(url)
        except DeepSentinelError:
            return error_reply(400, "InvalidUri", "The requested URI does not represent any resource on the server.")
        query = url.partition("?")[2]
        refusal = self._refusal(count, query, *blob.parts[:2])
        if refusal is not None:
            return refusal
        snapshot = self._snapshot.get(blob, query, cut=due(self._faults.blob_cut_every, count))
        if snapshot is not None:
            return snapshot
        file = self._root / blob
        if self._faults.hides(str(blob)) or not file.is_file():
            return error_reply(404, "BlobNotFound", "The specified blob does not exist.")
        if due(self._faults.blob_xml_every, count):
            return error_reply(200, "ServerBusy", "The server is currently unable to receive requests.")
        return _slice(file, byte_range, cut=due(self._faults.blob_cut_every, count))

    def _refusal(self, count: int, query: str, account: str, container: str) -> Reply | None:
        verdict = self._office.judge(query, account, container)
        if verdict == "missing":
            return error_reply(404, "ResourceNotFound", "The specified resource does not exist.")
        worn = self._faults.token_reads
        if verdict == "valid" and worn and self._tally.add(f"reads of {serial_of(query)}") > worn:
            verdict = "expired"
        if count < self._faults.tokens_expire_at:
            self._early_tokens.add(serial_of(query))
        elif serial_of(query) in self._early_tokens:
            verdict = "expired"
        if verdict != "valid":
            return error_reply(403, "AuthenticationFailed", "Server failed to authenticate the request.")
        return None


def error_reply(status: int, code: str, message: str) -> Reply:
    """An error of blob storage: an XML body with a code and a message."""
    xml = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Reply(status, xml.encode(), "application/xml", {"x-ms-error-code": code})


def parse_range(header: str | None, size: int) -> range | None:
    """The bytes that a Range header asks for; None for all: no header, or one that is not a single range.

    Raises:
        UnsatisfiableRangeError: none of those bytes exists.
    """
    match = _RANGE.match(header or "")
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        start, stop = max(size - int(match[2]), 0), size
    else:
        start, stop = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= stop:
        raise UnsatisfiableRangeError(f"{header} of a file of {size} bytes")
    return range(start, stop)


def _slice(file: Path, byte_range: str | None, *, cut: bool) -> Reply | FileReply:
    facts = file.stat()
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": "image/tiff",
        "ETag": f'"0x{facts.st_mtime_ns:X}"',
        "Last-Modified": email.utils.formatdate(facts.st_mtime, usegmt=True),
        "x-ms-blob-type": "BlockBlob",
    }
    try:
        wanted = parse_range(byte_range, facts.st_size)
    except UnsatisfiableRangeError:
        return Reply(416, b"", "application/xml", {"Content-Range": f"bytes */{facts.st_size}"})
    if wanted is None:
        return FileReply(200, file, 0, facts.st_size, headers, cut)
    headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{facts.st_size}"
    return FileReply(206, file, wanted.start, wanted.stop, headers, cut)
