"""Reads requests piece by piece, without ever waiting for the next piece.

gunicorn's own parser judges the head, once it is there in whole; here is only counted how much of a
request has arrived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _
from gunicorn.http import errors
from gunicorn.http.body import ChunkedReader
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader

from devops_manager.web_server.spools import NoRoom, Spool

if TYPE_CHECKING:
    from devops_manager.web_server.spools import Budget

HEAD_BYTES = 32 * 1024
_END = b"\r\n\r\n"

_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.LimitRequestLine, 414, "address_too_long"),
    (errors.LimitRequestHeaders, 431, "headers_too_large"),
    (errors.UnsupportedTransferCoding, 501, "transfer_coding_unsupported"),
    (errors.ExpectationFailed, 417, "expectation_failed"),
    (errors.ForbiddenProxyRequest, 403, "forbidden"),
)


class Refusal(Exception):
    """A request that is answered without the application."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        """Keep what the answer says."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class RequestReader:
    """The requests of one connection, one after another."""

    def __init__(self, cfg: Any, client: Any, budget: Budget) -> None:
        """Wait for the first request; ``cfg`` is gunicorn's."""
        self._cfg = cfg
        self._client = client
        self._body = Spool(budget)
        self._arrived = bytearray()  # of a head, or what came after a body
        self._searched = 0
        self._missing = 0
        self.request: Any = None
        self.received_bytes = 0  # of the body
        self.unread = False  # the client may go on sending what nobody reads
        self.wants_continue = False

    @property
    def untouched(self) -> bool:
        """Whether nothing of a next request has arrived."""
        return self.request is None and not self._arrived

    @property
    def has_more(self) -> bool:
        """Whether more has arrived than the request at hand."""
        return bool(self._arrived)

    def feed(self, data: bytes) -> bool:
        """Take what arrived and return whether a request is there in whole. Raises Refusal."""
        if self.request is None:
            self._arrived += data
            if not self._read_head():
                return False
            data = bytes(self._arrived)
            self._arrived = bytearray()
        if self.unread:
            return True
        self._read_body(data)
        if self._missing:
            return False
        self.request.body = self._body.as_input()
        return True

    def next(self) -> None:
        """Make ready for the next request."""
        self._body.close()
        self.request = None
        self._searched = self._missing = self.received_bytes = 0
        self.wants_continue = False

    def close(self) -> None:
        """Free everything."""
        self._body.close()

    def _read_head(self) -> bool:
        if self._arrived.startswith((b"\r", b"\n")):  # after the last body, tolerated
            self._arrived = self._arrived.lstrip(b"\r\n")
            self._searched = 0
        end = self._arrived.find(_END, max(0, self._searched - len(_END)))
        if end < 0:
            self._searched = len(self._arrived)
            self._judge_unfinished_head()
            return False
        end += len(_END)
        if end > HEAD_BYTES:
            raise self._head_too_large()
        head = bytes(self._arrived[:end])
        del self._arrived[:end]
        self.request = self._parse(head)
        return True

    def _judge_unfinished_head(self) -> None:
        if len(self._arrived) > HEAD_BYTES:
            raise self._head_too_large()
        first = self._arrived[:1]
        line_end = self._arrived.find(b"\n")
        # Another protocol, or lines that gunicorn's parser takes no more: it would never end.
        if (first and not first.isalpha()) or (
            line_end >= 0 and self._arrived[line_end - 1 : line_end] != b"\r"
        ):
            raise Refusal(400, "invalid_request", _("This is not HTTP/1.1."))

    def _head_too_large(self) -> Refusal:
        if self._arrived.find(b"\n", 0, HEAD_BYTES) < 0:
            return Refusal(414, "address_too_long", _sentence(414))
        return Refusal(431, "headers_too_large", _sentence(431))

    def _parse(self, head: bytes) -> Any:
        try:
            request = Request(self._cfg, IterUnreader([head]), self._client)
        except (errors.ParseException, errors.NoMoreData, StopIteration) as error:
            raise _refusal_of(error) from None
        reader = request.body.reader
        # The application refuses these by their headers, after it has judged who asks.
        self.unread = isinstance(reader, ChunkedReader) or reader.length > _longest_body()
        if self.unread:
            request.force_close()
            request.body = self._body.as_input()
        else:
            self._missing = reader.length
            self.wants_continue = request._expected_100_continue and self._missing > 0
        request._expected_100_continue = False
        return request

    def _read_body(self, data: bytes) -> None:
        piece = data[: self._missing]
        if piece:
            try:
                self._body.write(piece)
            except NoRoom:
                raise Refusal(503, "busy", _sentence(503)) from None
            self._missing -= len(piece)
            self.received_bytes += len(piece)
        self._arrived += data[len(piece) :]


def _longest_body() -> int:
    return settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0


def _refusal_of(error: Exception) -> Refusal:
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return Refusal(status, code, _sentence(status))
    return Refusal(400, "invalid_request", _("The request cannot be read."))


def _sentence(status: int) -> str:
    return {
        403: _("This proxy is not trusted."),
        414: _("The address is too long."),
        417: _("Only 100-continue can be expected."),
        431: _("The headers are too long."),
        501: _("Send the body without a transfer coding."),
        503: _("Too many large bodies arrive at once; try again later."),
    }[status]
