"""Requests that two parsers could read in two ways, clients that are slow or lie: each gets the stated answer, none
reaches the provider, and the gateway serves on."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ANTHROPIC_MODEL, Counted, Gateway, Mock, chat, get, message
from rawhttp import Answer, Connection

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
BODY = json.dumps(chat()).encode()
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def strict(directory: Path, mock: Mock) -> Iterator[Gateway]:
    """A gateway whose patience is short and whose limits are low."""
    server = {
        "head_timeout_s": 2,
        "head_bytes_max": HEAD_BYTES_MAX,
        "body_bytes_max": BODY_BYTES_MAX,
        "body_stall_timeout_s": 1,
        "body_timeout_s": 3,
    }
    gateway = Gateway(directory, mock.url, {"server": server})
    yield gateway
    assert gateway.is_running(), gateway.output()
    gateway.stop()


@pytest.fixture(autouse=True)
def _serves_on(strict: Gateway) -> Iterator[None]:
    yield
    with Connection(strict.port) as connection:
        connection.send(request(strict))
        assert connection.answer().status == 200
    assert get(f"{strict.url}/healthz")[0] == 200


def request(gateway: Gateway, *lines: str, target: str = CHAT, body: bytes = BODY, host: str | None = None) -> bytes:
    """A good request with more header lines."""
    host = f"127.0.0.1:{gateway.port}" if host is None else host
    head = [
        f"POST {target} HTTP/1.1",
        f"host: {host}",
        f"authorization: Bearer {gateway.key}",
        f"content-length: {len(body)}",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def bare(gateway: Gateway, first: str, *lines: str, body: bytes = b"") -> bytes:
    """A request of exactly these lines and the credential."""
    head = [first, f"authorization: Bearer {gateway.key}", *lines]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def check_openai(answer: Answer, status: int) -> str:
    """An error in OpenAI's form; its message."""
    assert answer.status == status, answer
    assert answer.whole
    assert answer.values("content-type") == ["application/json"]
    assert answer.values("x-request-id") != []
    error = answer.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert len(error["message"].split()) > 2
    return str(error["message"])


def check_refused(strict: Gateway, mock: Mock, data: bytes, status: int = 400) -> str:
    """Sends the bytes: they are answered in the dialect and not forwarded."""
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.try_send(data)
        message = check_openai(connection.answer(), status)
    assert counted.count == 0
    assert strict.key not in message
    return message


def check_not_http(strict: Gateway, mock: Mock, data: bytes, *statuses: int) -> None:
    """Sends bytes that are no request: a status, the end of the connection, and nothing forwarded.

    Nobody can tell which dialect they were meant to be, so the answer needs no body.
    """
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.try_send(data)
        answer = connection.answer()
        assert answer.status in statuses, answer
        assert answer.body == b"" or answer.json()["error"]["message"]
        assert connection.is_closed(), "what follows such bytes can not be told apart from them"
    assert counted.count == 0


# --- bodies -------------------------------------------------------------------------------------------------------

DEEP = b'{"model":"gpt-4o-mini","messages":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
BROKEN_BODIES = {
    "cut short": b'{"model":"gpt-4o-mini","messages":[{"role":"user"',
    "not json": b"model=gpt-4o-mini&stream=true",
    "white space": b"  \r\n\t ",
    "an array": b"[" + BODY + b"]",
    "a string": b'"gpt-4o-mini"',
    "bytes after it": BODY + b"x",
    "two objects": BODY + BODY,
    "a comma too many": b'{"model":"gpt-4o-mini","messages":[],}',
    "single quotes": b"{'model':'gpt-4o-mini'}",
    "a comment": b'{"model":"gpt-4o-mini"/**/,"messages":[]}',
    "a duplicate key": b'{"model":"gpt-4o-mini","model":"gpt-4.1","messages":[]}',
    "an escaped duplicate key": b'{"model":"gpt-4o-mini","mod\\u0065l":"gpt-4.1","messages":[]}',
    "a duplicate key further down": b'{"model":"gpt-4o-mini","messages":[{"role":"user","role":"system","content":""}]}',
    "a key in another case": b'{"model":"gpt-4o-mini","Model":"gpt-4.1","messages":[]}',
    "a byte order mark": b"\xef\xbb\xbf" + BODY,
    "utf-16": BODY.decode().encode("utf-16"),
    "utf-16 without a mark": BODY.decode().encode("utf-16-le"),
    "utf-32": BODY.decode().encode("utf-32"),
    "bad utf-8": BODY.replace(b"Say", b"\xff\xfe"),
    "overlong utf-8": BODY.replace(b"Say", b"\xc0\xaf"),
    "a surrogate in utf-8": BODY.replace(b"Say", b"\xed\xa0\x80"),
    "bad utf-8 in a field nobody reads": b'{"x":"\xff",' + BODY[1:],
    "a raw line break in a string": BODY.replace(b"Say", b"\n"),
    "a raw nul": BODY.replace(b"Say", b"\x00"),
    "nested too deeply": DEEP,
    "a number no double holds": b'{"temperature":1e400,' + BODY[1:],
    "a negative token limit": b'{"max_tokens":-1,' + BODY[1:],
    "a token limit with a fraction": b'{"max_tokens":1.5,' + BODY[1:],
    "a token limit as text": b'{"max_tokens":"1",' + BODY[1:],
    "a model that is no text": b'{"model":7,"messages":[]}',
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
def test_a_broken_body_is_400(strict: Gateway, mock: Mock, name: str) -> None:
    body = BROKEN_BODIES[name]
    assert len(body) <= BODY_BYTES_MAX
    check_refused(strict, mock, request(strict, body=body))


def test_the_place_of_a_mistake_is_named_but_not_its_text(strict: Gateway, mock: Mock) -> None:
    body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"very private words"}],}'
    said = check_refused(strict, mock, request(strict, body=body))
    assert "byte" in said
    assert "private" not in said


def test_a_broken_body_is_refused_in_anthropics_form_too(strict: Gateway, mock: Mock) -> None:
    body = json.dumps(message()).encode().replace(b'"max_tokens"', b'"model":"claude-opus-4-5","max_tokens"')
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.send(request(strict, "anthropic-version: 2023-06-01", target="/v1/messages", body=body))
        answer = connection.answer()
    assert answer.status == 400
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert ANTHROPIC_MODEL not in answer.json()["error"]["message"]
    assert counted.count == 0


def test_a_body_over_the_limit_is_413_before_it_is_read(strict: Gateway, mock: Mock) -> None:
    head = bare(strict, f"POST {CHAT} HTTP/1.1", "host: a", f"content-length: {BODY_BYTES_MAX + 1}")
    check_refused(strict, mock, head, 413)


def test_a_chunked_body_over_the_limit_is_413(strict: Gateway, mock: Mock) -> None:
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    head = bare(strict, f"POST {CHAT} HTTP/1.1", "host: a", "transfer-encoding: chunked")
    check_refused(strict, mock, head + chunk * 9, 413)


def test_a_bomb_is_not_unpacked(strict: Gateway, mock: Mock) -> None:
    body = gzip.compress(b'{"x":"' + b"a" * (16 << 20) + b'"}')
    assert len(body) <= BODY_BYTES_MAX
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.send(request(strict, "content-encoding: gzip", body=body))
        assert connection.answer().status in (400, 413)
    assert counted.count == 0


@pytest.mark.parametrize("coding", ["gzip", "deflate", "rot13", "gzip, gzip", "chunked"])
def test_a_lying_content_encoding_is_400(strict: Gateway, mock: Mock, coding: str) -> None:
    check_refused(strict, mock, request(strict, f"content-encoding: {coding}"))


def test_a_body_where_none_belongs_is_400(strict: Gateway, mock: Mock) -> None:
    data = bare(strict, "GET /v1/models HTTP/1.1", "host: a", f"content-length: {len(BODY)}", body=BODY)
    check_refused(strict, mock, data)


# --- credentials --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "second", ["authorization: Bearer {}", "x-api-key: {}", "api-key: {}", "x-goog-api-key: {}", "X-API-Key: other"]
)
def test_two_credentials_are_400(strict: Gateway, mock: Mock, second: str) -> None:
    check_refused(strict, mock, request(strict, second.format(strict.key)))


@pytest.mark.parametrize("query", ["?key={}", "?a=b&key={}", "?KEY={}", "?k%65y={}", "?key={}&key=x"])
def test_a_credential_in_the_query_too_is_400(strict: Gateway, mock: Mock, query: str) -> None:
    check_refused(strict, mock, request(strict, target=CHAT + query.format(strict.key)))


def test_no_credential_is_401(strict: Gateway, mock: Mock) -> None:
    for header in (b"", b"authorization: Bearer \r\n", b"x-api-key: \r\n"):
        data = request(strict).replace(f"authorization: Bearer {strict.key}\r\n".encode(), header)
        check_refused(strict, mock, data, 401)


def test_another_scheme_is_401(strict: Gateway, mock: Mock) -> None:
    data = request(strict).replace(b"Bearer ", b"Basic ")
    check_refused(strict, mock, data, 401)


# --- heads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["", "a b", "a,b", "user@a", "a/b", "a:99999", "a:0", "a:", "a:x", "[::1", "a?b", "a#b", "a\\b", "http://a", "\xe9"],
)
def test_a_host_that_is_none_is_400(strict: Gateway, mock: Mock, host: str) -> None:
    check_refused(strict, mock, request(strict, host=host))


def test_no_host_is_400(strict: Gateway, mock: Mock) -> None:
    length = f"content-length: {len(BODY)}"
    check_refused(strict, mock, bare(strict, f"POST {CHAT} HTTP/1.1", length, body=BODY))
    check_refused(strict, mock, bare(strict, f"POST {CHAT} HTTP/1.0", length, body=BODY))


def test_two_hosts_are_400(strict: Gateway, mock: Mock) -> None:
    check_refused(strict, mock, request(strict, f"host: 127.0.0.1:{strict.port}"))
    check_refused(strict, mock, request(strict, "Host: b"))


def test_a_target_that_names_another_host_is_400(strict: Gateway, mock: Mock) -> None:
    check_refused(strict, mock, request(strict, target=f"http://example.com{CHAT}"))
    check_refused(strict, mock, request(strict, target=f"ftp://127.0.0.1:{strict.port}{CHAT}"))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/../chat/completions",
        "/v1/./chat/completions",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat%2fcompletions",
        "/v1/chat/%2e%2e/files",
        "/v1/chat/completion%73",
        "/v1/chat%5ccompletions",
        "/v1/chat/completions%00",
        "/v1/chat/completions%",
        "/v1/chat/completions%252f",
        "/v1/chat/completions;a=b%3b",
        "/v1/" + "a" * 3000,
    ],
)
def test_a_path_with_two_readings_is_400(strict: Gateway, mock: Mock, path: str) -> None:
    check_refused(strict, mock, request(strict, target=path))


@pytest.mark.parametrize("target", ["/v1\\chat", "*"])
def test_a_target_that_is_no_path_is_400(strict: Gateway, mock: Mock, target: str) -> None:
    check_refused(strict, mock, request(strict, target=target))


@pytest.mark.parametrize("target", ["/v1/caf\xe9", "/v1/a\x7fb", "/v1/a\tb", "/v1/a b", "v1/models"])
def test_a_target_that_is_none_is_400(strict: Gateway, mock: Mock, target: str) -> None:
    check_not_http(strict, mock, request(strict, target=target), 400)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_are_not_served_are_400(strict: Gateway, mock: Mock, method: str) -> None:
    target = "a:443" if method == "CONNECT" else CHAT
    check_refused(strict, mock, bare(strict, f"{method} {target} HTTP/1.1", "host: a:443"))


def test_other_methods_are_403(strict: Gateway, mock: Mock) -> None:
    for method in ("PUT", "PATCH", "OPTIONS", "BREW"):
        check_refused(strict, mock, bare(strict, f"{method} {CHAT} HTTP/1.1", "host: a"), 403)


def test_a_field_name_with_an_underscore_is_400(strict: Gateway, mock: Mock) -> None:
    """Some servers read it as a dash: it could carry a second length or credential past the gateway."""
    check_refused(strict, mock, request(strict, "content_length: 5"))
    check_refused(strict, mock, request(strict, "x_api_key: abc"))


@pytest.mark.parametrize("coding", ["gzip, chunked", ", chunked", "chunked, chunked", "identity, chunked"])
def test_transfer_codings_beside_chunked_are_400(strict: Gateway, mock: Mock, coding: str) -> None:
    chunked = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
    lines = ["host: a", f"transfer-encoding: {coding}"]
    check_refused(strict, mock, bare(strict, f"POST {CHAT} HTTP/1.1", *lines, body=chunked))


def test_two_transfer_codings_are_400(strict: Gateway, mock: Mock) -> None:
    chunked = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
    lines = ["host: a", "transfer-encoding: chunked", "transfer-encoding: chunked"]
    check_refused(strict, mock, bare(strict, f"POST {CHAT} HTTP/1.1", *lines, body=chunked))


@pytest.mark.parametrize("coding", ["identity", "xchunked", "chunked, gzip", "gzip", "chunked;a=b", ""])
def test_transfer_codings_without_an_end_are_400(strict: Gateway, mock: Mock, coding: str) -> None:
    lines = ["host: a", f"transfer-encoding: {coding}"]
    check_not_http(strict, mock, bare(strict, f"POST {CHAT} HTTP/1.1", *lines, body=BODY), 400)


def test_transfer_coding_in_http_1_0_is_400(strict: Gateway, mock: Mock) -> None:
    lines = ["host: a", "transfer-encoding: chunked"]
    check_not_http(strict, mock, bare(strict, f"POST {CHAT} HTTP/1.0", *lines, body=b"0\r\n\r\n"), 400)


@pytest.mark.parametrize("first_is_length", [True, False])
def test_a_length_beside_chunks_smuggles_nothing(strict: Gateway, mock: Mock, first_is_length: bool) -> None:
    """The library drops the length, as RFC 9112 allows: then the chunks count and the connection must end."""
    smuggled = bare(strict, "GET /v1/models HTTP/1.1", "host: a")
    chunked = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
    lines = [f"content-length: {len(chunked) + len(smuggled)}", "transfer-encoding: chunked"]
    if not first_is_length:
        lines.reverse()
    data = bare(strict, f"POST {CHAT} HTTP/1.1", "host: a", *lines, body=chunked)
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.send(data + smuggled)
        answer = connection.answer()
        assert answer.status in (200, 400)
        assert connection.is_closed()
    assert counted.count == (answer.status == 200)


@pytest.mark.parametrize("length", ["+5", "-1", "0x10", "5, 5", "5 5", "1e3", "", "99999999999999999999999"])
def test_a_length_that_is_no_number_is_400(strict: Gateway, mock: Mock, length: str) -> None:
    lines = ["host: a", f"content-length: {length}"]
    check_not_http(strict, mock, bare(strict, f"POST {CHAT} HTTP/1.1", *lines, body=BODY), 400, 413, 431)


def test_two_different_lengths_are_400(strict: Gateway, mock: Mock) -> None:
    check_not_http(strict, mock, request(strict, f"content-length: {len(BODY) - 1}"), 400)


def test_the_same_length_twice_is_one_length_or_400(strict: Gateway, mock: Mock) -> None:
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.send(request(strict, f"content-length: {len(BODY)}"))
        status = connection.answer().status
    assert (status, counted.count) in ((200, 1), (400, 0))


@pytest.mark.parametrize(
    "line",
    ["x-a : b", " x-a: b", "x-a", ": b", "x-a: b\r\n folded", "x-a: \x00", "x-\xe9: b", "x(a): b", "x-a: b\rx-b: c"],
)
def test_a_header_line_that_is_none_is_400(strict: Gateway, mock: Mock, line: str) -> None:
    check_not_http(strict, mock, request(strict, line), 400)


def test_huge_heads_are_431(strict: Gateway, mock: Mock) -> None:
    check_not_http(strict, mock, request(strict, "x-huge: " + "a" * HEAD_BYTES_MAX), 431)
    check_not_http(strict, mock, request(strict, *(f"x-{i}: b" for i in range(200))), 431)
    check_not_http(strict, mock, request(strict, target="/v1/" + "a" * HEAD_BYTES_MAX), 431, 414)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 512,
        b"GET /v1/models\r\n\r\n",
        b"GET /v1/models HTTP/9.9\r\nhost: a\r\n\r\n",
        b"GET /v1/models http/1.1\r\nhost: a\r\n\r\n",
        b"\x00" * 64,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"{}\r\n\r\n",
    ],
    ids=["tls", "http0.9", "http9.9", "lower case", "nul", "ssh", "json"],
)
def test_what_is_not_http_is_turned_away(strict: Gateway, mock: Mock, data: bytes) -> None:
    check_not_http(strict, mock, data, 400, 505)


def test_http_2_without_tls_is_closed(strict: Gateway, mock: Mock) -> None:
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        assert connection.is_closed()
    assert counted.count == 0


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_head_that_comes_too_slowly_ends_the_connection(strict: Gateway) -> None:
    with Connection(strict.port) as connection:
        started = time.monotonic()
        for byte in request(strict):
            if not connection.try_send(bytes([byte])) or time.monotonic() - started > 12:
                break
            time.sleep(0.25)
        assert time.monotonic() - started < 12, "the head never timed out"


def test_a_connection_that_says_nothing_is_closed(strict: Gateway) -> None:
    with Connection(strict.port) as connection:
        assert connection.is_closed()


def test_a_body_that_stops_is_408(strict: Gateway, mock: Mock) -> None:
    head = request(strict, body=b"")[:-4].replace(b"content-length: 0", b"content-length: 100") + b"\r\n\r\n"
    check_refused(strict, mock, head + b'{"model":', 408)


def test_a_chunk_size_that_never_ends_is_408(strict: Gateway, mock: Mock) -> None:
    head = bare(strict, f"POST {CHAT} HTTP/1.1", "host: a", "transfer-encoding: chunked")
    check_refused(strict, mock, head + b"5", 408)


def test_a_body_that_trickles_is_408(strict: Gateway, mock: Mock) -> None:
    """Always another byte before the stall time is over: the total time ends it."""
    head = bare(strict, f"POST {CHAT} HTTP/1.1", "host: a", "content-length: 1000")
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.send(head)
        connection.socket.settimeout(0.3)
        answer = None
        for _ in range(40):
            connection.try_send(b" ")
            try:
                answer = connection.answer()
                break
            except TimeoutError:
                continue
        assert answer is not None
        check_openai(answer, 408)
    assert counted.count == 0


def test_expect_continue_is_answered(strict: Gateway) -> None:
    with Connection(strict.port) as connection:
        head, body = request(strict, "expect: 100-continue").split(b"\r\n\r\n", 1)
        connection.send(head + b"\r\n\r\n")
        assert connection.take_line().startswith(b"HTTP/1.1 100")
        connection.take_line()
        connection.send(body)
        assert connection.answer().status == 200


# --- ends ---------------------------------------------------------------------------------------------------------


def test_a_truncated_body_is_400(strict: Gateway, mock: Mock) -> None:
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.send(request(strict)[:-10])
        connection.end_sending()
        check_openai(connection.answer(), 400)
    assert counted.count == 0


@pytest.mark.parametrize("rest", [b"", b"5\r\n{", b"zz\r\n", b"-1\r\n", b"5\r\n12345x", b"ffffffffffffffffff\r\n"])
def test_broken_chunks_are_400(strict: Gateway, mock: Mock, rest: bytes) -> None:
    head = bare(strict, f"POST {CHAT} HTTP/1.1", "host: a", "transfer-encoding: chunked")
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.send(head + rest)
        connection.end_sending()
        check_openai(connection.answer(), 400)
    assert counted.count == 0


def test_a_body_cut_off_by_a_reset_is_not_forwarded(strict: Gateway, mock: Mock) -> None:
    with Counted(mock) as counted:
        for _ in range(10):
            connection = Connection(strict.port)
            connection.send(request(strict)[:-10])
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            connection.socket.close()
    assert counted.count == 0


def test_a_client_that_half_closes_still_gets_its_answer(strict: Gateway) -> None:
    with Connection(strict.port) as connection:
        connection.send(request(strict, "x-mock-delay-ms: 700"))
        connection.end_sending()
        answer = connection.answer()
    assert answer.status == 200
    assert answer.json()["choices"]


def test_a_client_that_half_closes_still_gets_its_stream(strict: Gateway) -> None:
    with Connection(strict.port) as connection:
        body = json.dumps(chat(stream=True)).encode()
        connection.send(request(strict, "x-mock-chunks: 10", "x-mock-chunk-delay-ms: 50", body=body))
        connection.end_sending()
        answer = connection.answer()
    assert answer.whole
    assert answer.body.rstrip().endswith(b"data: [DONE]")


def test_pipelined_requests_are_answered_in_order(strict: Gateway) -> None:
    with Connection(strict.port) as connection:
        delays = [300, 0, 100, 0]
        numbers = [3, 5, 7, 9]
        connection.send(
            b"".join(
                request(strict, f"x-mock-delay-ms: {delay}", f"x-mock-output-tokens: {number}")
                for delay, number in zip(delays, numbers, strict=True)
            )
        )
        answers = [connection.answer() for _ in numbers]
    assert [answer.json()["usage"]["completion_tokens"] for answer in answers] == numbers


def test_bytes_behind_a_request_do_not_hold_its_answer_back(strict: Gateway) -> None:
    """Also when the next request is there already, each piece of a stream is sent as it comes."""
    with Connection(strict.port, timeout=2) as connection:
        body = json.dumps(chat(stream=True)).encode()
        connection.send(request(strict, "x-mock-chunks: 5", "x-mock-chunk-delay-ms: 1000", body=body) + b"POST /v1")
        assert connection.take_line() == b"HTTP/1.1 200 OK"
        while b"data: " not in connection.buffer:
            assert connection.receive()


def test_a_bad_request_in_a_pipeline_spoils_only_itself(strict: Gateway) -> None:
    with Connection(strict.port) as connection:
        connection.send(request(strict) + request(strict, body=b"{") + request(strict))
        assert [connection.answer().status for _ in range(3)] == [200, 400, 200]


def test_each_request_of_a_connection_is_judged_by_its_own_key(strict: Gateway, mock: Mock) -> None:
    wrong = request(strict).replace(strict.key.encode(), strict.key[:-1].encode() + b"-")
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.send(request(strict) + wrong + request(strict))
        assert [connection.answer().status for _ in range(3)] == [200, 401, 200]
    assert counted.count == 2


def test_a_length_below_the_truth_forwards_nothing_of_the_rest(strict: Gateway, mock: Mock) -> None:
    short = request(strict).replace(f"content-length: {len(BODY)}".encode(), b"content-length: 12")
    with Counted(mock) as counted, Connection(strict.port) as connection:
        connection.send(short)
        check_openai(connection.answer(), 400)
    assert counted.count == 0


def test_many_connections_that_do_nothing_do_not_stop_the_others(strict: Gateway) -> None:
    idle = [Connection(strict.port) for _ in range(200)]
    try:
        for connection in idle:
            connection.try_send(b"POST ")
        with Connection(strict.port) as connection:
            connection.send(request(strict))
            assert connection.answer().status == 200
    finally:
        for connection in idle:
            connection.socket.close()
