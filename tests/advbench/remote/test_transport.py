"""Faults of the line and of the server, each within its bound and in one line; and what never leaves this machine."""

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event

import pytest

from advbench.core.errors import Interrupted, TargetUnavailable, UsageError
from advbench.remote.address import Address
from advbench.remote.retry import pause
from advbench.remote.settings import TargetSettings
from advbench.remote.transport import Transport

from .serving import drip, drop


def transport(server, **settings):
    return Transport(Address.parse(server.url("/")), TargetSettings(url=server.url("/"), **settings))


def times(count, act):
    """A fault of the first `count` requests."""
    return lambda handler, seen: seen <= count and (act(handler), True)[1]


@pytest.fixture
def naps(monkeypatch):
    """Waits between tries, not taken."""
    taken = []
    monkeypatch.setattr(Transport, "_sleep", lambda self, seconds: taken.append(seconds))
    return taken


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_target_is_asked_again(server, naps, status):
    server.fault = times(2, lambda handler: handler.say({}, status))
    line = transport(server)
    assert line.get("/v2/models/linear")["name"] == "linear"
    assert (line.requests, line.retries) == (3, 2)
    assert 0.5 <= naps[0] <= 0.55
    assert 1.0 <= naps[1] <= 1.1


def test_retry_after_is_honoured(server, naps):
    server.fault = times(1, lambda handler: handler.say({}, 429, Retry_After="7"))
    transport(server).get("/v2/models/linear")
    assert 7 <= naps[0] <= 7.7


def test_a_target_that_wants_a_long_rest_is_given_up(server, naps):
    server.fault = times(9, lambda handler: handler.say({}, 429, Retry_After="3600"))
    with pytest.raises(TargetUnavailable, match="3,600 s"):
        transport(server).get("/x")
    assert naps == []


def test_tries_are_bounded(server, naps):
    server.fault = times(99, lambda handler: handler.say({}, 503))
    line = transport(server, retries=3)
    with pytest.raises(TargetUnavailable, match="503"):
        line.get("/x")
    assert line.requests == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 418, 500])
def test_no_other_error_is_tried_again(server, naps, status):
    server.fault = times(9, lambda handler: handler.say({"error": "so it is"}, status))
    line = transport(server)
    with pytest.raises(TargetUnavailable, match=f"{status}.*so it is"):
        line.get("/x")
    assert (line.requests, naps) == (1, [])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(server, naps, status):
    server.fault = times(1, lambda handler: handler.say({}, status, Location=server.url("/elsewhere")))
    with pytest.raises(TargetUnavailable, match="redirect"):
        transport(server).post("/x", {})
    assert [path for path, _, _ in server.seen] == ["/x"]


def test_a_dropped_connection_is_tried_again(server, naps):
    server.fault = times(2, drop)
    line = transport(server)
    assert line.get("/v2/models/linear")["name"] == "linear"
    assert line.retries == 2


def test_half_an_answer_is_none(server, naps):
    server.fault = times(9, lambda handler: (handler.say(b'{"a": 1', Content_Length="99"), drop(handler)))
    with pytest.raises(TargetUnavailable, match="in the middle"):
        transport(server, retries=1).get("/x")


@pytest.mark.parametrize("slow", [lambda handler, until: until.wait(60), drip], ids=["late", "drips"])
def test_an_answer_must_be_whole_in_time(server, naps, slow):
    """The server ends its answer only once the client has given up."""
    given_up, in_time = Event(), []
    server.fault = times(9, lambda handler: (slow(handler, given_up), in_time.append(given_up.is_set())))
    with pytest.raises(TargetUnavailable, match=r"within 0\.2 s"):
        transport(server, retries=0, timeout=0.2).get("/x")
    assert in_time == []
    given_up.set()


def test_answers_are_bounded(server, naps):
    server.fault = times(9, lambda handler: handler.say(b" " * 2_000_000))
    with pytest.raises(TargetUnavailable, match="more than 1,048,576 bytes"):
        transport(server, response_megabytes=1.0).get("/x")


def test_an_answer_without_an_end_is_bounded(server, naps):
    def endless(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        except OSError:
            drop(handler)

    server.fault = times(9, endless)
    with pytest.raises(TargetUnavailable, match="more than"):
        transport(server, response_megabytes=1.0).get("/x")


def test_requests_are_bounded(server):
    with pytest.raises(UsageError, match="images_per_request"):
        transport(server, request_megabytes=0.001).post("/x", {"data": [0.5] * 999})
    assert server.seen == []


def test_compressed_answers_are_refused(server, naps):
    server.fault = times(9, lambda handler: handler.say(b"xx", Content_Encoding="gzip"))
    with pytest.raises(TargetUnavailable, match="compressed"):
        transport(server).get("/x")


def test_nobody_there(naps):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(TargetUnavailable, match="can't be reached"):
        Transport(Address.parse(url), TargetSettings(url=url)).get("/x")


def test_what_is_no_http_is_one_line(server, naps):
    server.fault = times(99, lambda handler: (handler.wfile.write(b"220 mail.example ESMTP\r\n"), drop(handler)))
    with pytest.raises(TargetUnavailable):
        transport(server).get("/x")


def test_an_unverified_certificate_is_refused(server):
    """A server that speaks no TLS at all is the nearest that can be had without a certificate."""
    url = server.url("/x").replace("http:", "https:")
    with pytest.raises(TargetUnavailable, match="can't be reached"):
        Transport(Address.parse(url), TargetSettings(url=url, retries=0)).get("/x")


def test_waiting_ends_when_asked_to_stop(server, slept):
    server.fault = times(9, lambda handler: handler.say({}, 503, Retry_After="30"))
    line = transport(server)
    line.should_stop = lambda: 2 if server.seen else None
    with pytest.raises(Interrupted):
        line.get("/x")
    assert sum(slept) < 1  # of the 30 seconds that the server asked for


TOKEN = "s3cr3t-t0ken"


def test_the_token_is_sent_and_never_told(server, naps, monkeypatch):
    monkeypatch.setenv("ADVBENCH_TOKEN", TOKEN)
    server.fault = times(9, lambda handler: handler.say({"error": f"bad {handler.headers['Authorization']}"}, 401))
    line = transport(server)
    with pytest.raises(TargetUnavailable) as error:
        line.get("/x")
    assert server.seen[0][1]["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(error.value) + repr(line) + repr(error.value.__cause__) + repr(error.value.__context__)
    assert "***" in str(error.value)


def test_the_token_can_have_a_header_of_its_own(server, monkeypatch):
    monkeypatch.setenv("ADVBENCH_TOKEN", TOKEN)
    transport(server, token_header="X-Api-Key").get("/v2/models/linear")
    assert server.seen[0][1]["X-Api-Key"] == TOKEN
    assert "Authorization" not in server.seen[0][1]


@pytest.mark.parametrize("token", ["a b", "a\nHost: b", "é"])
def test_a_token_that_is_none_is_refused_without_being_told(server, monkeypatch, token):
    monkeypatch.setenv("ADVBENCH_TOKEN", token)
    with pytest.raises(UsageError) as error:
        transport(server)
    assert token not in str(error.value)


def test_a_token_does_not_cross_a_network_unencrypted(monkeypatch):
    monkeypatch.setenv("ADVBENCH_TOKEN", TOKEN)
    with pytest.raises(UsageError, match="not encrypted"):
        Transport(Address.parse("http://example.org/x"), TargetSettings(url=""))
    Transport(Address.parse("https://example.org/x"), TargetSettings(url=""))


@pytest.mark.parametrize(
    "url",
    [
        "http://user:pa55word@h/x",
        "https://pa55word@h/x",
        "http://h/x?key=pa55word",
        "http://h/x#pa55word",
        "http://h:pa55word/x",
        "http://[pa55word/x",
        "http:///pa55word",
        "ftp://h/pa55word",
        "http://h/pa55word\n",
    ],
)
def test_a_url_with_secrets_or_nonsense_is_refused_without_being_told(url):
    with pytest.raises(UsageError) as error:
        Address.parse(url)
    assert "pa55word" not in str(error.value)


def test_an_address_is_told_as_it_was_given():
    assert str(Address.parse("HTTPS://Host:8443/v2/models/a")) == "https://host:8443/v2/models/a"
    assert str(Address.parse("http://[::1]:80/x")) == "http://[::1]/x"
    assert Address.parse("http://[::1]/x").is_this_machine
    assert not Address.parse("http://10.0.0.1/x").is_this_machine


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 2.0),
        ("12", 12.0),
        ("0", 0.0),
        ("-3", 2.0),
        ("soon", 2.0),
        ("99999999999999999999", 999_999_999.0),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(seconds=30), usegmt=True), 0.0),
    ],
)
def test_how_long_to_wait(header, seconds):
    assert pause(2, header, NOW) == seconds


def test_what_a_target_says_can_not_steer_a_terminal(server, naps):
    server.fault = times(9, lambda handler: handler.say(b"\x1b[2J\x07\r\nlong " + b"x" * 999, 500))
    with pytest.raises(TargetUnavailable) as error:
        transport(server).get("/x")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300
