"""A web server on loopback that answers what a test tells it to, and what may be read from there."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from llm.corpora.addresses import RemoteAccess

TRUSTED = RemoteAccess(trusted_hosts=("127.0.0.1",))
UNTRUSTING = RemoteAccess()


@dataclass
class Page:
    """What a path answers: `promised` bytes are stated, unless None, and `body` is sent."""

    body: bytes = b"text\n"
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    promised: int | None = -1
    methods: tuple[str, ...] = ("HEAD", "GET")


class Site(ThreadingHTTPServer):
    """A server on 127.0.0.1 that keeps the requests it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visitor)
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str]] = []
        self.authorizations: list[str | None] = []
        self.hung_up = threading.Event()  # the client did, before it had all
        self.scheme = "http"

    def url(self, path: str, *, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}"

    def redirect(self, path: str, to: str) -> None:
        self.pages[path] = Page(b"", status=302, headers={"Location": to})

    def count(self, method: str) -> int:
        return [made for made, _ in self.requests].count(method)


class Visitor(BaseHTTPRequestHandler):
    server: Site

    def answer(self) -> None:
        self.server.requests.append((self.command, self.path))
        self.server.authorizations.append(self.headers.get("Authorization"))
        page = self.server.pages.get(self.path, Page(b"", status=404, headers={}))
        if self.command not in page.methods:
            page = Page(b"", status=405, headers={})
        self.send_response(page.status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        if page.promised is not None:
            self.send_header("Content-Length", str(len(page.body) if page.promised == -1 else page.promised))
        self.end_headers()
        if self.command == "GET":
            try:
                self.wfile.write(page.body)
            except ConnectionError:
                self.server.hung_up.set()

    do_GET = do_HEAD = answer  # noqa: N815

    def do_CONNECT(self) -> None:
        self.server.requests.append((self.command, self.path))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing: what matters is in `requests`."""


def kept(downloads: Path) -> list[Path]:
    return [path for path in downloads.rglob("*") if path.is_file() and path.suffix != ".lock"]
