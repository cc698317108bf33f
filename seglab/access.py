"""Who may ask the page for what: this computer only or a public address, a list of doors, and bounded requests."""

import asyncio
import html
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from ipaddress import AddressValueError, IPv4Address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from seglab.images import MAX_BYTES

__all__ = ["HEADERS", "HOSTS", "LOCAL", "WAITING", "Access", "Limits", "public_access"]

UPLOAD_BODY, OTHER_BODY = MAX_BYTES + 4 * 2**20, 2**20  # bytes of one request; 4 MB for the form around the file
HOSTS = ("127.0.0.1", "localhost")
WAITING = 16  # events that may wait for their turn
STALLED = 60.0  # seconds without a byte of a request's body

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
BUSY = f"The server is busy: {WAITING} requests are waiting already. Try again in a minute."
FAILED = "The request could not be answered. Nothing was saved."
# What the page, in every language, and programs need. Gradio has more: recordings, sign-in, fetching of addresses.
DOORS = re.compile(
    r"/([a-z]{2}/?|config/?|robots\.txt|favicon\.ico|manifest\.json|theme\.css|(assets|static|svelte)/.+"
    r"|gradio_api/(info/?|app_id/?|startup-events|theme\.css|queue/(join|data)|call/.+|cancel|reset/?|upload/?"
    r"|upload_progress|heartbeat/[^/]+|file=(?![hH][tT][tT][pP][sS]?:).+))?"
)
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Access(NamedTuple):
    """Who reaches the page.

    Attributes:
        host: Address of this computer to listen on.
        names: Host names that visitors may type; empty for a page that only this computer reaches.
        root_path: Address that a proxy in front gives to the page, such as https://demo.example.org/seglab.

    Example:
        >>> LOCAL.public
        False
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    root_path: str = ""

    @property
    def public(self) -> bool:
        """Whether others than the person at this computer may come."""
        return bool(self.names)

    @property
    def warning(self) -> str:
        """What whoever starts a public page should know."""
        return (
            f"the page answers anyone who reaches {self.host} as {', '.join(self.names)}. It has no passwords and no "
            "encryption of its own: put a proxy with both in front, and run it as a user with no rights and a memory "
            "limit. Training is off."
        )


LOCAL = Access()


def public_access(host: str | None, names: Sequence[str], root_path: str | None, *, public: bool) -> Access:
    """What the options `--public --allow-host --host --root-path` ask for.

    Args:
        host: Address to listen on; None is 127.0.0.1, for a proxy on the same computer.
        names: Host names that visitors type.
        root_path: Full address of the page behind a proxy.
        public: Whether visitors from outside are meant to come at all.

    Returns:
        LOCAL unless `public`.

    Raises:
        ValueError: If the options do not go together, or one of them is no such thing.

    Example:
        >>> public_access(None, ["Demo.example.org"], None, public=True)
        Access(host='127.0.0.1', names=('demo.example.org',), root_path='')
    """
    if not public:
        if host not in (None, *HOSTS):
            raise ValueError(
                f"--host must be 127.0.0.1 unless visitors are let in; got {host!r}. Add --public --allow-host NAME."
            )
        if names or root_path:
            option = "--allow-host" if names else "--root-path"
            raise ValueError(f"{option} must come with --public; got it alone.")
        return LOCAL
    if not names:
        raise ValueError("--public must come with --allow-host NAME, the host name that visitors type; got none.")
    plain = tuple(name.lower() for name in names)
    for name in plain:
        if not NAME.fullmatch(name):
            raise ValueError(f"--allow-host must be a name such as demo.example.org, without port or *; got {name!r}.")
    return Access(_address(host or "127.0.0.1"), plain, _root(root_path or "", plain))


def _address(host: str) -> str:
    """The address to listen on, if it is one."""
    try:
        return str(IPv4Address("127.0.0.1" if host == "localhost" else host))
    except AddressValueError:
        raise ValueError(f"--host must be an IPv4 address such as 0.0.0.0; got {host!r}.") from None


def _root(text: str, names: Sequence[str]) -> str:
    """The address behind a proxy, if it is a full one of an allowed host."""
    try:
        parts = urlsplit(text)
        inside = parts.scheme in ("http", "https") and parts.hostname in names and parts.username is None
    except ValueError:
        inside = False
    if text and (not inside or parts.query or parts.fragment):
        raise ValueError(
            f"--root-path must be the page's full address with an allowed host, such as https://{names[0]}/seglab; "
            f"got {text!r}."
        )
    return text.rstrip("/")


class Limits:
    """ASGI middleware: known hosts and doors, nothing for other sites, bounded bodies, security headers on all answers.

    Args:
        app: What answers the requests that pass.
        access: Who may come.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], access: Access = LOCAL) -> None:
        self.app = app
        self.access = access
        self.moved = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":  # the page has none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] == "lifespan" and not self.moved:
            self._move_outside(scope["app"])
        if scope["type"] != "http" or self.moved:
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal:
            await _answer(send, *refusal)
            return
        # Gradio would take the page's address from these; behind a proxy it comes from --root-path.
        scope["headers"] = [pair for pair in scope["headers"] if not pair[0].lower().startswith(b"x-forwarded-")]
        await self._counted(scope, receive, send)

    def _move_outside(self, server: Any) -> None:
        """Around everything else, before the first request: Gradio lays its answers to other sites around it."""
        self.moved = True
        server.middleware_stack = Limits(server.middleware_stack, self.access)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and words if a request is refused before its body is read."""
        pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        headers = dict(pairs)
        if [name for name, _ in pairs].count("host") != 1 or not self._is_known(headers["host"], scope):
            return 400, "This host name is not served here."
        if not self._is_own(headers, scope["method"]):
            return 403, "Requests from other sites are refused."
        if not DOORS.fullmatch(scope["path"]):
            return 404, "Not found."
        length, limit = headers.get("content-length", "0"), _body_limit(scope["path"])
        if not (length.isascii() and length.isdigit()) or len(length) > 15 or int(length) > limit:
            return 413, f"The request must have at most {limit // 2**20} MB."
        return None

    def _is_known(self, host: str, scope: Scope) -> bool:
        """Whether a Host header names this page."""
        name = re.sub(r":\d{1,5}$", "", host).lower()
        if name in self.access.names:
            return True
        client = (scope.get("client") or ("", 0))[0]
        return name in HOSTS and (not self.access.public or client.startswith("127."))

    def _is_own(self, headers: dict[str, str], method: str) -> bool:
        """Whether a request comes from this page, or from a program that is no browser.

        Browsers send Sec-Fetch-Site to secure addresses and to this computer only, Origin always where it matters; a
        page cannot change either. Other programs leave both out.
        """
        origin = headers.get("origin")
        if origin is not None and not self._is_origin(origin, headers["host"]):
            return False
        return method in ("GET", "HEAD") or headers.get("sec-fetch-site", "none") in ("none", "same-origin")

    def _is_origin(self, origin: str, host: str) -> bool:
        """Whether an Origin header names this page."""
        scheme, mark, place = origin.lower().partition("://")
        own = {host.lower(), urlsplit(self.access.root_path).netloc.lower()} - {""}
        return bool(mark) and scheme in ("http", "https") and place in own

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; break it off when its body grows above the limit or does not come."""
        limit, seen, whole, started, refused = _body_limit(scope["path"]), 0, False, False, False

        async def count() -> MutableMapping[str, Any]:
            nonlocal seen, whole
            try:  # after the whole body this waits for the visitor to go, however long that takes
                message = await asyncio.wait_for(receive(), None if whole else STALLED)
            except TimeoutError:
                return {"type": "http.disconnect"}
            seen += len(message.get("body", b""))
            whole = whole or not message.get("more_body", False)
            return message if seen <= limit else {"type": "http.disconnect"}

        async def dress(message: MutableMapping[str, Any]) -> None:
            nonlocal started, refused
            if refused or (seen > limit and not started):
                return  # what the app makes of the broken-off body; the answer below is the right one
            if message["type"] == "http.response.start":
                started = True
                if message["status"] >= 500:
                    refused = True
                    await _answer(send, message["status"], BUSY if message["status"] == 503 else FAILED)
                    return
                message["headers"] = [*_without_cors(message.get("headers", [])), *_raw_headers()]
            await send(message)

        try:
            await self.app(scope, count, dress)
        except Exception:
            if seen <= limit:
                raise
        if seen > limit and not started:
            await _answer(send, 413, "The request is too large.")


def _body_limit(path: str) -> int:
    """Bytes that a request to this path may have."""
    return UPLOAD_BODY if path.rstrip("/").endswith("/upload") else OTHER_BODY


def _without_cors(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers without those that would open answers to other sites."""
    return [pair for pair in headers if not pair[0].lower().startswith(b"access-control-")]


async def _answer(send: Send, status: int, text: str) -> None:
    """Send a short answer in JSON, as Gradio's own refusals are."""
    headers = [(b"content-type", b"application/json"), (b"connection", b"close"), *_raw_headers()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f'{{"detail": "{html.escape(text)}"}}'.encode()})


def _raw_headers() -> list[tuple[bytes, bytes]]:
    """HEADERS as ASGI wants them."""
    return [(name.encode(), value.encode()) for name, value in HEADERS.items()]
