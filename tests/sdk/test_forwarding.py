"""What reaches the provider: the caller's bytes with the provider's credential, and nothing that must not travel."""

from __future__ import annotations

import gzip
import json
import signal

import pytest

from conftest import ANTHROPIC_KEY, OPENAI_KEY, Gateway, chat, eventually
from rawhttp import Connection
from recorder import Recorder


@pytest.fixture
def recorded(start, recorder: Recorder) -> Gateway:
    return start(upstream=recorder.url)


def post(gateway: Gateway, body: bytes, *headers: str, path: str = "/v1/chat/completions") -> int:
    """Sends exactly these bytes with the gateway's key; the status."""
    with Connection(gateway.port) as connection:
        connection.request("POST", path, body, f"authorization: Bearer {gateway.key}", *headers)
        return connection.answer().status


def test_the_body_travels_byte_for_byte(recorded: Gateway, recorder: Recorder) -> None:
    body = (
        b'{ "messages" : [ {"role":"user","content":"caf\\u00e9 \xc3\xa9 \\/"} ] ,\n\t"temperature":0.70,'
        b'"model":"gpt-4o-mini","seed":12345678901234567,"unknown_field":{"b":1,"a":[1.0,2e0]} }\n'
    )
    assert post(recorded, body, "content-type: application/json") == 200
    assert recorder.last.body == body


def test_only_the_usage_option_is_added_to_a_stream(recorded: Gateway, recorder: Recorder) -> None:
    body = json.dumps(chat(stream=True), indent=3).encode()
    assert post(recorded, body, "content-type: application/json", "accept-encoding: gzip, deflate") == 200
    sent = json.loads(recorder.last.body)
    assert sent.pop("stream_options") == {"include_usage": True}
    assert sent == json.loads(body)
    # What is to be taken out of the answer again must arrive uncompressed.
    assert recorder.last.values("accept-encoding") == ["identity"]
    # Everything else is still the caller's own text.
    assert b'"messages": [\n' in recorder.last.body


def test_a_compressed_body_is_read_and_forwarded(recorded: Gateway, recorder: Recorder) -> None:
    body = json.dumps(chat()).encode()
    headers = ("content-type: application/json", "content-encoding: gzip")
    assert post(recorded, gzip.compress(body), *headers) == 200
    received = recorder.last.body
    if recorder.last.values("content-encoding") == ["gzip"]:
        received = gzip.decompress(received)
    assert received == body


def test_the_credential_is_swapped(recorded: Gateway, recorder: Recorder) -> None:
    body = json.dumps(chat()).encode()
    for way in ("authorization: Bearer {}", "x-api-key: {}", "api-key: {}"):
        with Connection(recorded.port) as connection:
            connection.request("POST", "/v1/chat/completions", body, way.format(recorded.key))
            assert connection.answer().status == 200
        assert recorder.last.values("authorization") == [f"Bearer {OPENAI_KEY}"]
        assert recorder.last.values("x-api-key") == recorder.last.values("api-key") == []
        assert not recorder.last.mentions(recorded.key)
        assert not recorder.last.mentions(ANTHROPIC_KEY)
    with Connection(recorded.port) as connection:
        connection.request("POST", f"/v1/chat/completions?a=1&key={recorded.key}&b=2", body)
        assert connection.answer().status == 200
    assert recorder.last.target == "/v1/chat/completions?a=1&b=2"
    assert not recorder.last.mentions(recorded.key)


def test_what_belongs_to_the_connection_or_could_mislead_stays_here(recorded: Gateway, recorder: Recorder) -> None:
    dropped = {
        "connection": "keep-alive, x-hop",
        "x-hop": "1",
        "keep-alive": "timeout=5",
        "te": "trailers",
        "cookie": "session=1",
        "referer": "http://example.com/",
        "proxy-authorization": "Basic eDp5",
        "x-forwarded-for": "198.51.100.7",
        "x-forwarded-host": "evil.example",
        "forwarded": "for=198.51.100.7",
        "x-real-ip": "198.51.100.7",
        "x-original-url": "/v1/files",
        "x-rewrite-url": "/v1/files",
        "x-http-method-override": "DELETE",
    }
    kept = {"x-custom": "kept", "user-agent": "suite/1", "x-stainless-lang": "python"}
    lines = [f"{name}: {value}" for name, value in {**dropped, **kept}.items()]
    assert post(recorded, json.dumps(chat()).encode(), *lines) == 200
    for name in dropped:
        assert recorder.last.values(name) in ([], ["keep-alive"]), name
    for name, value in kept.items():
        assert recorder.last.values(name) == [value], name
    host = recorder.url.removeprefix("http://")
    assert recorder.last.values("host") == [host]


def test_the_providers_cookies_stay_here(recorded: Gateway, recorder: Recorder) -> None:
    recorder.extra_headers = [("set-cookie", "edge=1"), ("x-provider", "kept")]
    with Connection(recorded.port) as connection:
        body = json.dumps(chat()).encode()
        connection.request("POST", "/v1/chat/completions", body, f"authorization: Bearer {recorded.key}")
        answer = connection.answer()
    assert answer.status == 200
    assert answer.values("set-cookie") == []
    assert answer.values("x-provider") == ["kept"]


def test_the_key_can_not_be_smuggled_out_by_connection(recorded: Gateway, recorder: Recorder) -> None:
    """``Connection: authorization`` must neither remove our credential nor keep theirs."""
    assert post(recorded, json.dumps(chat()).encode(), "connection: authorization, content-length") == 200
    assert recorder.last.values("authorization") == [f"Bearer {OPENAI_KEY}"]
    assert json.loads(recorder.last.body) == chat()


def test_a_new_provider_key_is_used_without_a_restart(recorded: Gateway, recorder: Recorder) -> None:
    body = json.dumps(chat()).encode()
    assert post(recorded, body) == 200
    recorded.put_credential("openai", "sk-proj-rotated-0123456789abcdef")
    recorded.signal(signal.SIGHUP)

    def is_new() -> bool:
        assert post(recorded, body) == 200, "no request may fail meanwhile"
        return recorder.last.values("authorization") == ["Bearer sk-proj-rotated-0123456789abcdef"]

    eventually(is_new, "the new credential is used", 5)
