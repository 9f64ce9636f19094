"""Keys are planted, used in every way that goes right and wrong, and then searched for wherever they must not be."""

from __future__ import annotations

import base64
import stat

import anthropic
import openai

from conftest import ANTHROPIC_KEY, OPENAI_KEY, chat, get, message
from rawhttp import Connection


def spellings(secret: str) -> list[bytes]:
    """A secret as it might be written somewhere."""
    raw = secret.encode()
    return [raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), raw[len(raw) // 3 :]]


def test_planted_secrets_are_found_nowhere(start) -> None:
    gateway = start({"log": {"level": "trace"}})
    answers: list[bytes] = []

    def keep(response) -> None:
        response.read()
        answers.append(str(response.headers).encode() + response.content)

    def call(make, error, *arguments, **options) -> None:
        try:
            made = make(*arguments, **options)
            if options.get("stream"):
                list(made)
        except error:
            pass

    hooks = {"response": [keep]}
    failures = ["reset", "garbage", "401", "429", "500", "short-body"]
    for key in (gateway.key, gateway.key[:-1] + "-", OPENAI_KEY, ANTHROPIC_KEY):
        http = openai.DefaultHttpxClient(event_hooks=hooks)
        with gateway.openai(api_key=key, http_client=http) as client:
            create = client.chat.completions.create
            call(create, openai.OpenAIError, **chat())
            call(create, openai.OpenAIError, **chat(stream=True))
            call(client.models.list, openai.OpenAIError)
            for failure in failures:
                call(create, openai.OpenAIError, **chat(), extra_headers={"x-mock-fail": failure})
        http = anthropic.DefaultHttpxClient(event_hooks=hooks)
        with gateway.anthropic(api_key=key, http_client=http) as other:
            call(other.messages.create, anthropic.AnthropicError, **message())
            call(other.messages.create, anthropic.AnthropicError, **message(stream=True))
    bodies = [b"{", b"\xff", b'{"model":"gpt-4o-mini","messages":[]}']
    for body in bodies:
        for lines in ([f"x-api-key: {gateway.key}"], [f"x-api-key: {gateway.key}", f"api-key: {gateway.key}"]):
            with Connection(gateway.port) as connection:
                connection.request("POST", f"/v1/chat/completions?key={gateway.key}", body, *lines)
                answers.append(connection.answer().body)
    with Connection(gateway.port) as connection:
        connection.request("POST", f"/v1/chat/completions?key={gateway.key}", bodies[2])
        answers.append(connection.answer().body)
    with Connection(gateway.port) as connection:
        connection.send(f"GET /{gateway.key} HTTP/9\r\n\r\n".encode())
        connection.receive()
    answers.append(get(f"{gateway.admin_url}/metrics")[2])
    answers.append(get(f"{gateway.url}/{gateway.key}")[2])
    answers.append(gateway.cli("key", "list", "--json").encode())
    assert gateway.stop() == 0

    files = [path for path in gateway.directory.rglob("*") if path.is_file()]
    kept = [path for path in files if path not in gateway.credentials.values()]
    assert any(path.is_relative_to(gateway.state) for path in kept)
    for name, secret in {"virtual key": gateway.key, "OpenAI key": OPENAI_KEY, "Anthropic key": ANTHROPIC_KEY}.items():
        for spelling in spellings(secret):
            for path in kept:
                assert spelling not in path.read_bytes(), f"the {name} stands in {path.relative_to(gateway.directory)}"
            for answer in answers:
                assert spelling not in answer, f"the {name} stands in an answer: {answer[:200]!r}"


def test_nobody_else_may_read_the_state(start) -> None:
    gateway = start()
    assert stat.S_IMODE(gateway.state.stat().st_mode) & 0o077 == 0
