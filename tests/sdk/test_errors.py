"""Refusals arrive as the SDKs' own exception classes, readable and without secrets, and are retried only when it helps."""

from __future__ import annotations

import threading

import anthropic
import openai
import pytest

from conftest import (
    ANTHROPIC_KEY,
    OPENAI_KEY,
    Counted,
    Gateway,
    Mock,
    chat,
    eventually,
    message,
    toml,
    unknown_key,
)

Either = openai.APIStatusError | anthropic.APIStatusError


def check_error(error: Either, status: int, *secrets: str) -> None:
    """What holds for every refusal: the status, a sentence to read, an id to quote, and no secret anywhere."""
    assert error.status_code == status
    body = error.response.json()
    sentence = body["error"]["message"]
    assert len(sentence.split()) > 3, sentence
    assert sentence in str(error)
    if isinstance(error, anthropic.APIStatusError):
        assert body["type"] == "error" and body["error"]["type"]
    else:
        assert set(body["error"]) >= {"message", "type", "param", "code"}
    assert error.request_id, "the SDKs show it, and the gateway's log has it"
    shown = error.response.text + str(error) + str(error.response.headers)
    for secret in (OPENAI_KEY, ANTHROPIC_KEY, *secrets):
        assert secret not in shown
        assert secret.removeprefix("sk-tw-")[13:] not in shown, "not even the secret part"


def attempts() -> tuple[list[str], dict[str, list]]:
    """A list that grows with every request an SDK really sends, and the hook that fills it."""
    seen: list[str] = []
    return seen, {"request": [lambda request: seen.append(str(request.url))]}


def test_unknown_key_is_401(gateway: Gateway, mock: Mock) -> None:
    for key in (unknown_key(), gateway.key[:-1] + ("x" if gateway.key[-1] != "x" else "y"), "sk-something-else", "x"):
        with Counted(mock) as counted:
            with gateway.openai(api_key=key) as client, pytest.raises(openai.AuthenticationError) as caught:
                client.chat.completions.create(**chat())
            check_error(caught.value, 401, key.ljust(32, "?"))
            with gateway.anthropic(api_key=key) as other, pytest.raises(anthropic.AuthenticationError) as caught_too:
                other.messages.create(**message())
            check_error(caught_too.value, 401, key.ljust(32, "?"))
            assert caught_too.value.type == "authentication_error"
        assert counted.count == 0


def test_a_refusal_is_never_lost_to_a_closing_connection(gateway: Gateway) -> None:
    """A refusal that needs no body is written while the body still arrives: a connection that is then closed without a
    word looks like an outage to the caller, who would see the refusal only now and then."""
    request = chat(messages=[{"role": "user", "content": "x" * 200_000}])
    with gateway.openai(api_key=unknown_key()) as client:
        for _ in range(100):
            with pytest.raises(openai.AuthenticationError):
                client.chat.completions.create(**request)


def test_a_providers_own_key_is_no_key_here(gateway: Gateway) -> None:
    with gateway.openai(api_key=OPENAI_KEY) as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(**chat())
    check_error(caught.value, 401)


def test_a_revoked_key_is_401_within_a_moment(gateway: Gateway) -> None:
    key = gateway.issue_live()
    name = f"test-{next(gateway.names) - 1}"
    gateway.cli("key", "revoke", name)
    with gateway.openai(api_key=key) as client:

        def is_refused() -> bool:
            try:
                client.chat.completions.create(**chat())
            except openai.AuthenticationError as error:
                check_error(error, 401, key)
                return True
            return False

        eventually(is_refused, "the revoked key is refused", 3)


def test_a_model_outside_the_scope_is_403(gateway: Gateway, mock: Mock) -> None:
    key = gateway.issue_live("gpt-4o-mini", "claude-haiku*")
    with Counted(mock) as counted:
        with gateway.openai(api_key=key) as client, pytest.raises(openai.PermissionDeniedError) as caught:
            client.chat.completions.create(**chat(model="gpt-4.1"))
        check_error(caught.value, 403, key)
        with gateway.anthropic(api_key=key) as other, pytest.raises(anthropic.PermissionDeniedError) as caught_too:
            other.messages.create(**message(model="claude-opus-4-5"))
        check_error(caught_too.value, 403, key)
        assert caught_too.value.type == "permission_error"
    assert counted.count == 0
    with gateway.openai(api_key=key) as client:
        assert client.chat.completions.create(**chat()).choices


def test_a_network_outside_the_scope_is_403(start, mock: Mock) -> None:
    gateway = start({"defaults": {"scope": {"networks": ["203.0.113.0/24"]}}})
    with gateway.openai() as client, Counted(mock) as counted, pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(**chat())
    check_error(caught.value, 403, gateway.key)
    assert counted.count == 0


def test_an_endpoint_outside_the_scope_is_403(start) -> None:
    gateway = start({"defaults": {"scope": {"endpoints": ["chat_completions"]}}})
    with gateway.openai() as client:
        assert client.chat.completions.create(**chat()).choices
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.embeddings.create(model="text-embedding-3-small", input="x")
        check_error(caught.value, 403, gateway.key)
        with pytest.raises(openai.PermissionDeniedError):
            client.get("/no/such/path", cast_to=object)


def test_what_the_provider_does_not_have_is_404(gateway: Gateway) -> None:
    with gateway.openai() as client, pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**chat(model="unknown-model"))
    assert caught.value.code == "model_not_found"
    with gateway.anthropic() as other, pytest.raises(anthropic.NotFoundError):
        other.messages.create(**message(model="unknown-model"))


def test_a_dialect_without_a_provider_is_404(start) -> None:
    gateway = start()
    gateway.stop()
    kept = [provider for provider in gateway.config["provider"] if provider["name"] == "openai"]
    gateway.config["provider"] = kept
    gateway.file.write_text(toml(gateway.config))
    gateway.start()
    with gateway.anthropic() as client, pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(**message())
    check_error(caught.value, 404, gateway.key)


def test_a_used_up_rate_is_429_with_a_time_to_wait(start, mock: Mock) -> None:
    gateway = start({"defaults": {"limits": {"requests_per_minute": 2}}})
    with gateway.openai() as client:
        first = client.chat.completions.with_raw_response.create(**chat())
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        client.chat.completions.create(**chat())
        with Counted(mock) as counted, pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**chat())
        assert counted.count == 0
        check_error(caught.value, 429, gateway.key)
        # Windows slide: what was used in this minute still counts in part during the next.
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 120
        assert caught.value.response.headers.get("x-should-retry") != "false"
    with gateway.anthropic() as other, pytest.raises(anthropic.RateLimitError) as caught_too:
        other.messages.create(**message())
    check_error(caught_too.value, 429, gateway.key)
    assert caught_too.value.type == "rate_limit_error"


BUDGET = {"defaults": {"budgets": {"day": "0.000001"}}}
"""A millionth of a dollar: no request fits."""


def test_a_used_up_budget_is_429_and_not_retried(start) -> None:
    gateway = start(BUDGET)
    seen, hooks = attempts()
    http = openai.DefaultHttpxClient(event_hooks=hooks)
    with gateway.openai(max_retries=3, http_client=http) as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**chat())
    check_error(caught.value, 429, gateway.key)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in caught.value.response.headers
    assert len(seen) == 1
    seen, hooks = attempts()
    http = anthropic.DefaultHttpxClient(event_hooks=hooks)
    with gateway.anthropic(max_retries=3, http_client=http) as other, pytest.raises(anthropic.RateLimitError):
        other.messages.create(**message())
    assert len(seen) == 1


def test_a_used_up_budget_is_402_when_so_configured(start) -> None:
    gateway = start({**BUDGET, "server": {"budget_is_402": True}})
    with gateway.openai() as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**chat())
    check_error(caught.value, 402, gateway.key)
    with gateway.anthropic() as other, pytest.raises(anthropic.PaymentRequiredError) as caught_too:
        other.messages.create(**message())
    check_error(caught_too.value, 402, gateway.key)


def test_what_a_retry_can_not_mend_is_sent_once(gateway: Gateway) -> None:
    scoped = gateway.issue_live("gpt-4o-mini")
    for key, model, expected in (
        (unknown_key(), "gpt-4o-mini", openai.AuthenticationError),
        (scoped, "gpt-4.1", openai.PermissionDeniedError),
    ):
        seen, hooks = attempts()
        http = openai.DefaultHttpxClient(event_hooks=hooks)
        with gateway.openai(api_key=key, max_retries=4, http_client=http) as client, pytest.raises(expected) as caught:
            client.chat.completions.create(**chat(model=model))
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert len(seen) == 1


def test_the_sdk_waits_as_long_as_the_gateway_says_and_then_succeeds(start) -> None:
    """One request at a time: the second is told to wait, waits, and is served."""
    gateway = start({"defaults": {"limits": {"concurrency": 1}}})
    seen, hooks = attempts()
    http = openai.DefaultHttpxClient(event_hooks=hooks)
    with gateway.openai() as busy, gateway.openai(max_retries=5, http_client=http) as patient:
        headers = {"x-mock-chunks": "30", "x-mock-chunk-delay-ms": "50"}
        stream = busy.chat.completions.create(**chat(stream=True), extra_headers=headers)
        next(iter(stream))
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        assert patient.chat.completions.create(**chat()).choices
        reader.join()
    assert len(seen) >= 2, "the first attempt must have met the limit"
    # Left to itself the SDK waits half a second, then one: so many attempts would not have been enough.
    assert len(seen) <= 4


def test_the_providers_own_429_passes_with_its_retry_after(gateway: Gateway, mock: Mock) -> None:
    with gateway.openai() as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**chat(), extra_headers={"x-mock-fail": "429=7"})
    assert caught.value.response.headers["retry-after"] == "7"
    with (
        gateway.openai(max_retries=1) as client,
        Counted(mock) as counted,
        pytest.raises(openai.RateLimitError),
    ):
        client.chat.completions.create(**chat(), extra_headers={"x-mock-fail": "429=1"})
    assert counted.count == 2, "the SDK retried once, the gateway not at all"


def test_the_providers_errors_pass_unchanged(gateway: Gateway, mock: Mock) -> None:
    with gateway.openai() as client, Counted(mock) as counted, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**chat(), extra_headers={"x-mock-fail": "500"})
    assert caught.value.status_code == 500
    assert counted.count == 1, "the gateway must not send again what the provider may charge for"
    with gateway.anthropic() as other, pytest.raises(anthropic.OverloadedError):
        other.messages.create(**message(), extra_headers={"x-mock-fail": "529"})
    gateway.check_health()


def test_a_refused_provider_key_is_not_the_callers_fault(gateway: Gateway) -> None:
    """A 401 would make people rotate a virtual key that is in order."""
    with gateway.openai() as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**chat(), extra_headers={"x-mock-fail": "401"})
    check_error(caught.value, 503, gateway.key)
    gateway.check_health()
