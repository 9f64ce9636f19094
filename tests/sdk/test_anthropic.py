"""The Anthropic SDK with nothing changed but base URL and key."""

from __future__ import annotations

import json

import anthropic
import pytest

from conftest import ANTHROPIC_KEY, ANTHROPIC_MODEL, Counted, Gateway, Mock, message
from recorder import Recorder

TOOL = {
    "name": "search",
    "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}


def test_message(gateway: Gateway) -> None:
    headers = {"x-mock-input-tokens": "300", "x-mock-cached-tokens": "200", "x-mock-output-tokens": "16"}
    with gateway.anthropic() as client:
        answer = client.messages.create(**message(), extra_headers=headers)
    assert answer.content[0].type == "text"
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (100, 200)
    assert answer.usage.output_tokens == 16


def test_the_key_is_taken_from_either_header(gateway: Gateway) -> None:
    """As the SDK sends it now (``Authorization: Bearer``) and as it and others used to (``x-api-key``)."""
    sent: list[tuple[bool, bool]] = []

    def note(request) -> None:
        sent.append(("authorization" in request.headers, "x-api-key" in request.headers))

    for options in (
        {"api_key": gateway.key},
        {"auth_token": gateway.key, "api_key": None},
        {"api_key": None, "default_headers": {"x-api-key": gateway.key}},
    ):
        http = anthropic.DefaultHttpxClient(event_hooks={"request": [note]})
        with gateway.anthropic(**options, http_client=http) as client:
            assert client.messages.create(**message()).content
    assert sent == [(True, False), (True, False), (False, True)]


def test_two_credentials_are_refused(gateway: Gateway, mock: Mock) -> None:
    with (
        gateway.anthropic(default_headers={"x-api-key": gateway.key}) as client,
        Counted(mock) as counted,
        pytest.raises(anthropic.BadRequestError) as caught,
    ):
        client.messages.create(**message())
    assert caught.value.type == "invalid_request_error"
    assert counted.count == 0


def test_stream(gateway: Gateway) -> None:
    headers = {"x-mock-chunks": "8", "x-mock-output-tokens": "16", "x-mock-input-tokens": "25"}
    with gateway.anthropic() as client:
        events = list(client.messages.create(**message(stream=True), extra_headers=headers))
        with client.messages.stream(**message(), extra_headers=headers) as stream:
            text = "".join(stream.text_stream)
            last = stream.get_final_message()
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert kinds.count("content_block_delta") == 8
    assert len(text) == 4 * 16
    assert (last.usage.input_tokens, last.usage.output_tokens) == (25, 16)


@pytest.mark.parametrize("style", ["split", "joined", "pings", "gzip"])
def test_stream_however_it_is_written(gateway: Gateway, style: str) -> None:
    headers = {"x-mock-style": style, "x-mock-chunks": "10", "x-mock-output-tokens": "20"}
    with gateway.anthropic() as client, client.messages.stream(**message(), extra_headers=headers) as stream:
        assert len("".join(stream.text_stream)) == 4 * 20


def test_error_in_a_stream_reaches_the_caller(gateway: Gateway) -> None:
    headers = {"x-mock-style": "error-mid-stream", "x-mock-chunks": "6"}
    with gateway.anthropic() as client, pytest.raises(anthropic.APIStatusError):
        list(client.messages.create(**message(stream=True), extra_headers=headers))


def test_tools(gateway: Gateway) -> None:
    request = message(tools=[TOOL], tool_choice={"type": "any"})
    with gateway.anthropic() as client:
        answer = client.messages.create(**request)
        with client.messages.stream(**request) as stream:
            streamed = stream.get_final_message()
    for whole in (answer, streamed):
        assert whole.stop_reason == "tool_use"
        assert whole.content[0].type == "tool_use"
        assert whole.content[0].input == {"query": "mock"}


def test_count_tokens(gateway: Gateway) -> None:
    request = message()
    del request["max_tokens"]
    with gateway.anthropic() as client:
        counted = client.messages.count_tokens(**request, extra_headers={"x-mock-input-tokens": "123"})
    assert counted.input_tokens == 123


def test_models(gateway: Gateway) -> None:
    key = gateway.issue_live("claude-haiku*")
    with gateway.anthropic() as client, gateway.anthropic(api_key=key) as scoped:
        assert len({model.id for model in client.models.list()}) == 3
        assert [model.id for model in scoped.models.list()] == ["claude-haiku-4-5"]


def batch(*ids: str, model: str = ANTHROPIC_MODEL) -> list[dict]:
    return [{"custom_id": id, "params": message(model=model)} for id in ids]


def test_batches(gateway: Gateway) -> None:
    """The results are fetched through the gateway, not past it: see the next test."""
    with gateway.anthropic() as client:
        made = client.messages.batches.create(requests=batch("a", "b"))
        assert client.messages.batches.retrieve(made.id).processing_status == "ended"
        results = {line.custom_id: line.result for line in client.messages.batches.results(made.id)}
    assert set(results) == {"a", "b"}
    assert all(result.type == "succeeded" for result in results.values())


def test_the_address_of_batch_results_is_the_gateways_own(gateway: Gateway, mock: Mock) -> None:
    """The SDK follows ``results_url`` with its key: were it the provider's, the key would leave."""
    with gateway.anthropic() as client:
        made = client.messages.batches.create(requests=batch("a"))
        found = client.messages.batches.retrieve(made.id)
    for one in (made, found):
        assert one.results_url is not None
        assert one.results_url.startswith(gateway.url), one.results_url
        assert mock.url not in one.results_url


def test_a_batch_can_not_reach_beyond_the_models_of_its_key(gateway: Gateway, mock: Mock) -> None:
    key = gateway.issue_live("claude-haiku*")
    requests = [*batch("a"), *batch("b", model="claude-opus-4-5")]
    with (
        gateway.anthropic(api_key=key) as client,
        Counted(mock) as counted,
        pytest.raises(anthropic.PermissionDeniedError),
    ):
        client.messages.batches.create(requests=requests)
    assert counted.count == 0


def test_the_provider_gets_its_own_credential_in_the_right_header(start, recorder: Recorder) -> None:
    gateway = start(upstream=recorder.url)
    with gateway.anthropic() as client:
        assert client.messages.create(**message()).content
    assert recorder.last.values("x-api-key") == [ANTHROPIC_KEY]
    assert recorder.last.values("authorization") == []
    assert recorder.last.values("anthropic-version") != []
    assert not recorder.last.mentions(gateway.key)
    assert json.loads(recorder.last.body)["model"] == ANTHROPIC_MODEL


def test_a_provider_can_be_named_in_the_path(gateway: Gateway) -> None:
    with gateway.anthropic(base_url=f"{gateway.url}/anthropic") as client:
        assert client.messages.create(**message()).content
