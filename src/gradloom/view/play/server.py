"""The playground's server: a page, its scripts, and a socket for each page that is open.

It listens on 127.0.0.1 alone. Another site in the same browser may still try to reach it, so a
request is answered only under this machine's own names (no DNS rebinding), and a socket is opened
only to pages from here (no cross-site hijacking).

All networks learn in one thread, in turns of a fraction of a second, so that pages share the
machine evenly and a slow one holds nobody up.
"""

import asyncio
import http
import json
import logging
import threading
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import resources
from time import monotonic
from types import TracebackType
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from gradloom.errors import ArgumentError, GradloomError
from gradloom.nn import ACTIVATIONS, OPTIMIZERS
from gradloom.nn.checks import choose, whole
from gradloom.view.play import settings as limits
from gradloom.view.play.points import DATA
from gradloom.view.play.session import EDGE, Session, with_head
from gradloom.view.play.settings import Settings

_LOGGER = logging.getLogger(__name__)

PORT = 8737
_PAGES = 32  # open at once
_MESSAGE = 1 << 17  # bytes of the longest message that a page may send
_TURN = 0.025  # seconds that the networks of all pages learn before they are drawn
_PICTURE = 1 / 30  # seconds from one picture to the next; of single updates, ten times as long

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Playground:
    """A running playground; `play` starts one.

    Attributes:
        port: where it listens.
        url: its address, for a browser on this machine.

    Used in a `with` statement it is closed at the end.

    Example:
        >>> with Playground() as playground:
        ...     print(playground.url)
        http://127.0.0.1:...
    """

    port: int

    def __init__(self, port: int | None = None) -> None:
        self._wanted = None if port is None else _port(port)
        self._ready = threading.Event()
        self._failed: OSError | None = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="gradloom play", daemon=True
        )
        self._thread.start()
        self._ready.wait()
        if self._failed:
            self._thread.join()
            raise ArgumentError(
                f"port {port} cannot be used ({self._failed.strerror}): choose another, or none"
            ) from self._failed

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def wait(self) -> None:
        """Comes back when the playground is closed, or with KeyboardInterrupt on Ctrl-C."""
        while self._thread.is_alive():
            self._thread.join(0.2)

    def close(self) -> None:
        """Closes all pages' sockets, stops listening, and waits until that is done."""
        with suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def __enter__(self) -> "Playground":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Playground({self.url})"

    def _repr_html_(self) -> str:
        return f'<a href="{self.url}" target="_blank" rel="noopener">{self.url}</a>'

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._pages: set[_Page] = set()
        self._talks: set[asyncio.Task[Any]] = set()
        with ThreadPoolExecutor(1, "gradloom play: learning") as self._pool:
            try:
                server = await self._listen()
            except OSError as error:
                self._failed = error
                self._ready.set()
                return
            self._server = server
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            async with server:
                await self._end.wait()
            if self._talks:  # they need the thread a moment longer than their sockets
                await asyncio.wait(self._talks)

    async def _listen(self) -> Server:
        """The server, on the port that is wanted; where none is, on ours or any that is free."""
        options: dict[str, Any] = {
            "process_request": self._answer,
            "max_size": _MESSAGE,
            "compression": None,  # nothing is gained on the way to the same machine
            "server_header": None,
            "logger": _quiet_logger(),
            "close_timeout": 1,
        }
        if self._wanted is not None:
            return await serve(self._talk, "127.0.0.1", self._wanted, **options)
        try:
            return await serve(self._talk, "127.0.0.1", PORT, **options)
        except OSError:
            return await serve(self._talk, "127.0.0.1", 0, **options)

    def _answer(self, _connection: ServerConnection, request: Request) -> Response | None:
        """A file of the page, an error, or None for a socket that may be opened."""
        hosts = [f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")]
        if request.headers.get_all("Host") not in [[host] for host in hosts]:
            return _response(403, "ask for this page by the address that gradloom play printed")
        path = request.path.partition("?")[0]
        if path == "/socket":
            if request.headers.get_all("Origin") not in [[f"http://{host}"] for host in hosts]:
                return _response(403, "this socket is for the playground's own page")
            if len(self._pages) >= _PAGES:
                return _response(503, f"{_PAGES} pages are open: close one first")
            return None
        name = "index.html" if path == "/" else path.removeprefix("/")
        content = _assets().get(name)
        if content is None:
            return _response(404, "there is no such page")
        suffix = name[name.rindex(".") :]
        return _response(200, content, _TYPES[suffix])

    async def _talk(self, connection: ServerConnection) -> None:
        page = _Page(connection, self._pool, self._pages)
        talk = asyncio.current_task()
        assert talk is not None
        self._pages.add(page)
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        try:
            await page.run()
        except ConnectionClosed:
            pass  # the usual end
        except Exception:
            _LOGGER.exception("a page of the playground failed")
            raise
        finally:
            self._pages.discard(page)


def play(port: int | None = None, *, open_browser: bool = True) -> Playground:
    """Starts the playground in the background and opens its page in the browser.

    There a network learns to tell points of a plane apart while one watches the boundary, the loss,
    every neuron and every weight, and changes what one likes. It runs until it is closed or the
    process ends; a script calls `wait()` on what is returned.

    Args:
        port: where to listen on 127.0.0.1; by default 8737, or any free one if that is taken.
        open_browser: whether to open the page.

    Raises:
        ArgumentError: the port is out of range or taken.

    Example:
        >>> playground = play(open_browser=False)
        >>> playground.close()
    """
    playground = Playground(port)
    if open_browser:
        webbrowser.open(playground.url)
    return playground


class _Page:
    """One open page: answers what it asks, and draws for it while its network learns."""

    _session: Session

    def __init__(
        self, connection: ServerConnection, pool: ThreadPoolExecutor, pages: "set[_Page]"
    ) -> None:
        self._connection = connection
        self._pool = pool
        self._pages = pages  # all that are open, which share the time
        self._playing = False
        self._news = asyncio.Event()  # something is to be drawn, or learned

    async def run(self) -> None:
        """Until the page is closed."""
        self._session = await self._work(Session, Settings())
        await self._tell(
            type="hello",
            data=[*DATA, limits.OWN],
            activations=list(ACTIVATIONS),
            optimizers=list(OPTIMIZERS),
            penalties=limits.PENALTIES,
            speeds=limits.SPEEDS,
            classes=limits.MOST_CLASSES,
            layers=limits.MOST_LAYERS,
            neurons=limits.MOST_NEURONS,
            edge=EDGE,
        )
        tasks = [asyncio.create_task(work) for work in (self._listen(), self._draw())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in done:
            task.result()  # raises what went wrong

    async def _listen(self) -> None:
        """Does what the page asks for, until it is closed."""
        async for message in self._connection:
            try:
                await self._obey(message)
            except GradloomError as error:
                await self._fail(error)

    async def _obey(self, message: str | bytes) -> None:
        """Does what a message asks for.

        Raises:
            GradloomError: it asks for nothing that can be done; nothing was changed.
        """
        wanted = _parse(message)
        do = choose("command", wanted.get("do"), {name: name for name in _COMMANDS})
        if do == "set":
            try:
                settings = self._session.settings.changed(wanted.get("settings"))
                await self._work(self._session.change, settings)
            finally:
                await self._tell_settings()  # once for each message, so that the page can count
        elif do == "play":
            self._playing = True
        elif do == "pause":
            self._playing = False
        elif do == "step":
            self._playing = False
            await self._work(self._session.step)
        elif do == "reset":
            self._playing = False
            await self._work(self._session.reset)
        else:
            file = await self._work(self._session.model_file)
            name = f"gradloom-{self._session.settings.data}.safetensors"
            head = {"type": "model", "name": name}
            await self._connection.send(with_head(head, file))
        self._news.set()

    async def _draw(self) -> None:
        """Has the network learn while it is to, and sends a picture whenever there is news."""
        while True:
            await self._news.wait()
            self._news.clear()
            started, speed = monotonic(), self._session.settings.speed
            if self._playing:
                try:
                    await self._work(self._learn, speed)
                    self._news.set()
                except GradloomError as error:
                    await self._fail(error)
            frame = await self._work(self._session.frame)
            frame.told["playing"] = self._playing
            await self._connection.send(frame.to_bytes())
            pause = _PICTURE * (10 if speed == "slow" and self._playing else 1)
            await asyncio.sleep(max(0.0, started + pause - monotonic()))

    def _learn(self, speed: str) -> None:
        if speed == "slow":
            self._session.step()
        else:
            turn = _TURN / max(1, len(self._pages))
            self._session.run(turn, epochs=1 if speed == "normal" else None)

    async def _work(self, function: Any, *arguments: Any) -> Any:
        """What a function returns that runs in the thread where all networks learn."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _fail(self, error: GradloomError) -> None:
        self._playing = False
        self._news.set()
        await self._tell(type="error", message=str(error))

    async def _tell_settings(self) -> None:
        session = self._session
        await self._tell(
            type="settings",
            settings=session.settings.to_json(),
            classes=session.classes,
            parameters=len(session.model.parameters()),
            points=session.points(),
        )

    async def _tell(self, **message: Any) -> None:
        await self._connection.send(json.dumps(message))


_COMMANDS = ("set", "play", "pause", "step", "reset", "export")


def _parse(message: str | bytes) -> dict[str, Any]:
    """The object of JSON that a message holds; numbers too long for a float become infinite."""
    try:
        if isinstance(message, bytes):
            raise ValueError("bytes")
        wanted = json.loads(message, parse_int=lambda t: int(t) if len(t) < 20 else float(t))
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict):
        raise ArgumentError('a message is an object of JSON such as {"do": "step"}')
    return wanted


def _port(port: int) -> int:
    if whole("port", port, least=0) > 65535:
        raise ArgumentError(f"port is a whole number of at most 65535, got {port}")
    return port


def _assets() -> dict[str, bytes]:
    """The files of the page by name."""
    folder = resources.files("gradloom.view") / "assets" / "play"
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _response(status: int, content: str | bytes, type: str = "text/plain") -> Response:
    body = content if isinstance(content, bytes) else f"{content}\n".encode()
    headers = Headers(_HEADERS)
    headers["Content-Type"] = f"{type}; charset=utf-8"
    headers["Content-Length"] = str(len(body))
    headers["Connection"] = "close"
    return Response(status, http.HTTPStatus(status).phrase, headers, body)


def _quiet_logger() -> logging.Logger:
    """A logger that says nothing: whoever disturbs a socket should not fill the terminal."""
    logger = _LOGGER.getChild("socket")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
