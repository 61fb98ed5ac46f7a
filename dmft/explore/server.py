"""A web server for one page on this machine.

It listens on 127.0.0.1 only. Whoever asks must know the random token in the address and must have
asked for this machine by name: a page of elsewhere that a browser has open knows neither.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dmft.errors import InputError
from dmft.explore.page import page
from dmft.explore.session import Answer, Session

HOST = "127.0.0.1"
_LONGEST = 1_000_000  # bytes of a request
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class ExploreServer(ThreadingHTTPServer):
    """Serves the page of a session.

    Parameters
    ----------
    session : what answers.
    port : to listen on; 0 for any that is free.

    Raises
    ------
    InputError : the port is taken or not allowed.
    """

    daemon_threads = True

    def __init__(self, session: Session, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(16)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"given {port}, cannot listen there ({reason})", "--port") from None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: ExploreServer

    def do_GET(self) -> None:
        if not self._may("text/html"):
            return
        if self._name() != "":
            self._refuse(HTTPStatus.NOT_FOUND)
            return
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
            f"form-action 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
        )
        text = page(nonce).encode()
        self._begin("text/html; charset=utf-8", {"Content-Security-Policy": policy})
        self.wfile.write(text)

    def do_POST(self) -> None:
        if not self._may("application/json"):
            return
        session = self.server.session
        request = self._request()
        streams: Mapping[str, Callable[[Mapping[str, Any], Callable[[Answer], None]], None]] = {
            "curves": session.curves,
            "networks": session.networks,
        }
        name = self._name()
        if request is None:
            self._refuse(HTTPStatus.BAD_REQUEST)
        elif name == "settings" or name in streams:
            self._begin("application/x-ndjson", {})
            try:
                if name in streams:
                    streams[name](request, self._send)
                else:
                    self._send(session.settings(request))
            except InputError as error:
                self._send({"error": " ".join(str(error).split())})
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the page has gone or asks for something else
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of every request."""

    def _name(self) -> str:
        return self.path.split("?")[0].removeprefix(f"/{self.server.token}/")

    def _may(self, kind: str) -> bool:
        """Whether the caller asks for this machine, knows the token, and sends what is expected."""
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._refuse(HTTPStatus.FORBIDDEN)
            return False
        given = self.path.split("/")[1].encode() if self.path.count("/") >= 2 else b""
        if not hmac.compare_digest(given, self.server.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND)
            return False
        sent = self.headers.get("Content-Type", "")
        if self.command == "POST" and sent.partition(";")[0].strip() != kind:
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
            return False
        return True

    def _request(self) -> dict[str, Any] | None:
        """The body, an object in JSON; None if it is anything else."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LONGEST:
            return None
        try:
            found = json.loads(self.rfile.read(int(length)))
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _begin(self, kind: str, headers: Mapping[str, str]) -> None:
        """Headers of an answer that ends when the connection does."""
        self.send_response(HTTPStatus.OK)
        for name, value in {**_HEADERS, **headers, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, answer: Answer) -> None:
        self.wfile.write(json.dumps(answer, allow_nan=False).encode() + b"\n")
        self.wfile.flush()

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_error(status)
