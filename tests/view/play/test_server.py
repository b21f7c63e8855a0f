"""The playground's server, as pages and other programs meet it."""

import http.client
import json
import signal
import struct
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from itertools import pairwise

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from gradloom.errors import ArgumentError
from gradloom.view.play import Playground, play, server


@pytest.fixture(scope="module")
def playground():
    with Playground(0) as running:
        yield running


class Socket:
    """A page's side of its socket."""

    def __init__(self, connection):
        self.connection = connection
        self.hello = self.next("hello")

    def send(self, **message):
        self.connection.send(json.dumps(message))

    def next(self, kind):
        """The next message of that type; others are passed over."""
        while True:
            message = self.connection.recv(timeout=20)
            body = b""
            if isinstance(message, bytes):
                end = 4 + struct.unpack("<I", message[:4])[0]
                message, body = message[4:end], message[end:]
            told = json.loads(message)
            if told["type"] == kind:
                return told | {"body": body}

    def frame(self, **wanted):
        """The next frame of which these figures are true."""
        while True:
            frame = self.next("frame")
            if all(frame[name] == value for name, value in wanted.items()):
                return frame

    def ask(self, **settings):
        self.send(do="set", settings=settings)
        return self.next("settings")


@contextmanager
def page(playground, **options):
    address = f"ws://127.0.0.1:{playground.port}/socket"
    with connect(address, **{"origin": playground.url.rstrip("/")} | options) as connection:
        yield Socket(connection)


def get(playground, path, host=None, method="GET"):
    """Status, headers and body of an answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", playground.port, timeout=10)) as asked:
        asked.putrequest(method, path, skip_host=host is not None)
        if host:
            asked.putheader("Host", host)
        asked.endheaders()
        answer = asked.getresponse()
        return answer.status, answer.headers, answer.read()


# The page


def test_the_page_and_all_it_needs_come_from_here(playground):
    status, headers, body = get(playground, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>Gradloom playground" in body
    for name, type in (("main.js", "text/javascript"), ("style.css", "text/css")):
        status, headers, _ = get(playground, f"/{name}?x=1")
        assert (status, headers["Content-Type"]) == (200, f"{type}; charset=utf-8")


def test_the_page_may_load_nothing_from_elsewhere(playground):
    policy = get(playground, "/")[1]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/nothing", "/../server.py", "/%2e%2e/server.py", "/play/", "//"])
def test_there_is_nothing_else_to_get(playground, path):
    assert get(playground, path)[0] == 404


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80"])
def test_other_names_for_this_machine_are_refused(playground, host):
    assert get(playground, "/", host=host)[0] == 403
    assert get(playground, "/", host=f"localhost:{playground.port}")[0] == 200


@pytest.mark.parametrize("origin", [None, "http://example.com", "null", "https://127.0.0.1"])
def test_other_sites_get_no_socket(playground, origin):
    with pytest.raises(InvalidStatus, match="403"), page(playground, origin=origin):
        pass


def test_a_socket_that_is_asked_for_as_a_page_is_refused(playground):
    with closing(http.client.HTTPConnection("127.0.0.1", playground.port, timeout=10)) as asked:
        asked.request("GET", "/socket", headers={"Origin": playground.url.rstrip("/")})
        assert asked.getresponse().status == 426


def test_only_so_many_pages_are_served(playground, monkeypatch):
    monkeypatch.setattr(server, "_PAGES", 1)
    with page(playground), pytest.raises(InvalidStatus, match="503"), page(playground):
        pass
    deadline = time.monotonic() + 10
    while playground._pages and time.monotonic() < deadline:
        time.sleep(0.01)
    with page(playground) as other:
        assert other.hello["data"]


# Its socket


def test_a_page_learns_what_it_may_choose(playground):
    with page(playground) as tab:
        assert tab.hello["data"][-1] == "own"
        assert {"tanh", "relu"} <= set(tab.hello["activations"])
        told = tab.ask(layers=[2], count=40)
        assert told["parameters"] == 9
        assert len(told["points"]) == 40


def test_steps_pause_and_reset(playground):
    with page(playground) as tab:
        tab.ask(count=40)
        for updates in (1, 2):
            tab.send(do="step")
            assert tab.frame(updates=updates)["playing"] is False
        tab.send(do="play")
        assert tab.frame(playing=True, epochs=4)
        tab.send(do="step")
        stopped = tab.frame(playing=False)
        tab.send(do="step")
        assert tab.frame(updates=stopped["updates"] + 1)
        tab.send(do="reset")
        assert tab.frame(updates=0)["epochs"] == 0


@pytest.mark.parametrize(("speed", "batch"), [("slow", 1), ("normal", 1000)])
def test_a_playing_network_is_shown_after_each_update_or_epoch(playground, speed, batch):
    with page(playground) as tab:
        tab.ask(count=40, batch=batch, speed=speed)
        tab.send(do="play")
        seen = [tab.frame(playing=True)["updates"] for _ in range(4)]
        assert {later - earlier for earlier, later in pairwise(seen)} == {1}
        tab.send(do="pause")
        last = tab.frame(playing=False)["updates"]
        tab.send(do="step")
        assert tab.frame(updates=last + 1)


def test_a_fast_network_is_shown_after_as_much_as_it_can_do(playground):
    with page(playground) as tab:
        tab.ask(count=40, batch=1000, speed="fast")
        tab.send(do="play")
        seen = 0
        for _ in range(200):
            before, seen = seen, tab.frame(playing=True)["epochs"]
            if seen > before + 1:
                break
        assert seen > before + 1


def test_the_model_comes_as_a_file(playground, tmp_path):
    import gradloom as gl

    with page(playground) as tab:
        tab.ask(data="xor", layers=[5])
        tab.send(do="export")
        told = tab.next("model")
    (tmp_path / told["name"]).write_bytes(told["body"])
    assert gl.load_model(tmp_path / told["name"]).nouts == [5, 1]


MALFORMED = [
    "", "{", "[]", "null", "1", '"step"', "{}", '{"do": null}', '{"do": ["step"]}',
    '{"do": "stop"}', '{"do": "set"}', '{"do": "set", "settings": {"layers": [1e999]}}',
    '{"do": "set", "settings": {"rate": NaN}}', '{"do": "set", "settings": {"count": "many"}}',
    '{"do": "set", "settings": {"rate": 1' + 400 * "0" + "}}", "[" * 60000,
    b"\x00\xff", b'{"do": "step"}',
    '{"do": "set", "settings": {"points": [[0, 0, 9]]}}',
]  # fmt: skip


@pytest.mark.parametrize("message", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_messages_are_told_and_change_nothing(playground, message):
    with page(playground) as tab:
        before = tab.ask(count=40)
        tab.connection.send(message)
        assert tab.next("error")["message"]
        assert tab.ask() == before
        tab.send(do="step")
        assert tab.frame(updates=1)


def test_a_message_that_is_far_too_long_closes_that_page_alone(playground):
    with page(playground) as tab, page(playground) as other:
        tab.connection.send("x" * (1 << 18))
        with pytest.raises(ConnectionClosedError):
            tab.next("error")
        other.send(do="step")
        assert other.frame(updates=1)


def test_what_cannot_be_learned_is_told_and_pauses(playground):
    with page(playground) as tab:
        tab.ask(data="own", points=[])
        tab.send(do="play")
        assert "no point to learn from" in tab.next("error")["message"]
        assert tab.frame(playing=False)["training_loss"] is None
        tab.ask(optimizer="sgd", penalty="l2", strength=9, rate=99, data="xor", count=20)
        tab.send(do="play")
        assert "diverged" in tab.next("error")["message"]
        assert tab.frame(playing=False)


def test_pages_learn_side_by_side_and_apart(playground):
    with page(playground) as one, page(playground) as two:
        one.ask(data="xor", count=40)
        two.ask(data="blobs", layers=[3], count=60)
        for tab in (one, two):
            tab.send(do="play")
        for tab, inputs in ((one, 6), (two, 3)):
            frame = tab.frame(epochs=5)
            assert len(frame["weights"][0]) == inputs


def test_a_page_that_goes_away_while_playing_leaves_the_others_in_peace(playground):
    with page(playground) as other:
        with page(playground) as tab:
            tab.send(do="play")
            tab.frame(playing=True)
            tab.connection.socket.close()  # as if its tab had crashed
        other.send(do="play")
        assert other.frame(epochs=3)
        deadline = time.monotonic() + 10
        while len(playground._pages) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(playground._pages) == 1


def test_a_page_that_fails_is_logged_and_closed_alone(playground, monkeypatch, caplog):
    with page(playground) as other:
        monkeypatch.setattr(server.Session, "frame", lambda _: 1 / 0)
        with page(playground) as tab:
            tab.send(do="step")
            with pytest.raises(ConnectionClosedError):
                tab.next("frame")
        monkeypatch.undo()
        assert "a page of the playground failed" in caplog.text
        other.send(do="step")
        assert other.frame(updates=1)


# The server


def test_it_listens_on_this_machine_alone(playground):
    (socket,) = playground._server.sockets
    assert socket.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_passed_over_or_refused():
    with Playground(0) as first:
        original = server.PORT
        server.PORT = first.port
        try:
            with Playground() as second:
                assert second.port != first.port
        finally:
            server.PORT = original
        with pytest.raises(ArgumentError, match=f"port {first.port} cannot be used"):
            Playground(first.port)


@pytest.mark.parametrize("port", [-1, 65536, 80.5, "80"])
def test_a_port_out_of_range_is_refused(port):
    with pytest.raises(ArgumentError, match="port is a whole number"):
        Playground(port)


def test_closing_ends_pages_and_may_be_done_twice():
    running = Playground(0)
    with page(running) as tab:
        running.close()
        with pytest.raises(Exception, match="1001"):
            tab.next("frame")
    running.close()
    running.wait()
    with pytest.raises(ConnectionRefusedError):
        get(running, "/")


def test_closing_while_pages_learn_disturbs_none_of_them(caplog):
    for _ in range(5):
        with Playground(0) as running, page(running) as one, page(running) as two:
            for tab in (one, two):
                tab.ask(speed="fast", count=40)
                tab.send(do="play")
                tab.frame(playing=True)
            running.close()
    assert caplog.text == ""


def test_play_opens_the_browser_at_its_address(monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    with play(0) as running:
        assert opened == [running.url]
        assert running.url in running._repr_html_()
    with play(0, open_browser=False):
        assert len(opened) == 1


COMMAND = [sys.executable, "-c", "from gradloom.cli import main; main()", "play", "--no-open"]


def test_the_command_prints_its_address_and_ends_quietly_on_ctrl_c():
    process = subprocess.Popen(
        [*COMMAND, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("playground at http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.wait()


def test_the_command_says_in_a_line_that_its_port_is_taken(playground):
    done = subprocess.run(
        [*COMMAND, "--port", str(playground.port)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: port {playground.port} cannot be used")
    assert done.stderr.count("\n") == 1


def test_without_its_library_the_command_says_what_to_install():
    code = "import sys; sys.modules['websockets'] = None; from gradloom.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "play"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "error: websockets is not installed: pip install 'gradloom[view]'\n"
