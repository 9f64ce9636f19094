"""The OpenAI SDK with nothing changed but base URL and key."""

from __future__ import annotations

import json

import openai
import pytest
from pydantic import BaseModel

from conftest import Gateway, Mock, chat, get, toml
from recorder import Recorder, completion

TOOL = {
    "type": "function",
    "function": {
        "name": "search",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}


def test_chat(gateway: Gateway) -> None:
    headers = {"x-mock-input-tokens": "1200", "x-mock-output-tokens": "30", "x-mock-cached-tokens": "1024"}
    with gateway.openai() as client:
        answer = client.chat.completions.create(**chat(), extra_headers=headers)
    assert answer.model == "gpt-4o-mini"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1200, 30)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 1024


def test_every_answer_has_an_id_and_says_what_the_gateway_took(gateway: Gateway) -> None:
    with gateway.openai() as client:
        answers = [client.chat.completions.with_raw_response.create(**chat()) for _ in range(2)]
    ids = [answer.headers["x-tokenwatch-request-id"] for answer in answers]
    assert len(set(ids)) == 2 and all(ids)
    assert all(int(answer.headers["x-tokenwatch-overhead-us"]) >= 0 for answer in answers)
    # The provider's own headers pass.
    assert all(answer.headers["x-request-id"].startswith("req_") for answer in answers)
    assert answers[0].headers["x-ratelimit-limit-requests"] == "10000"


@pytest.mark.parametrize("style", ["joined", "split", "crlf", "pings", "joined,crlf", "split,pings"])
def test_stream_without_usage_shows_no_usage_chunk(gateway: Gateway, style: str) -> None:
    """The gateway asks for usage itself; a client that did not ask sees nothing of it."""
    headers = {"x-mock-chunks": "12", "x-mock-style": style, "x-mock-output-tokens": "48"}
    with gateway.openai() as client:
        chunks = list(client.chat.completions.create(**chat(stream=True), extra_headers=headers))
    assert all(chunk.choices for chunk in chunks), "a chunk without choices is the usage chunk"
    assert all(chunk.usage is None for chunk in chunks)
    assert len("".join(chunk.choices[0].delta.content or "" for chunk in chunks)) == 4 * 48
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("style", ["joined", "split", "crlf", "gzip"])
def test_stream_with_usage_ends_with_the_usage_chunk(gateway: Gateway, style: str) -> None:
    headers = {"x-mock-input-tokens": "77", "x-mock-output-tokens": "40", "x-mock-style": style}
    request = chat(stream=True, stream_options={"include_usage": True})
    with gateway.openai() as client:
        chunks = list(client.chat.completions.create(**request, extra_headers=headers))
    *others, last = chunks
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (77, 40)
    assert all(chunk.usage is None for chunk in others)


def test_stream_with_usage_switched_off_shows_no_usage_chunk(gateway: Gateway) -> None:
    request = chat(stream=True, stream_options={"include_usage": False})
    with gateway.openai() as client:
        chunks = list(client.chat.completions.create(**request))
    assert all(chunk.choices for chunk in chunks)


def test_stream_that_puts_usage_on_the_last_choice_keeps_that_choice(gateway: Gateway) -> None:
    """Some servers send no separate chunk: what is stripped is the chunk without choices, never content."""
    headers = {"x-mock-style": "usage-on-last-choice", "x-mock-chunks": "3"}
    with gateway.openai() as client:
        chunks = list(client.chat.completions.create(**chat(stream=True), extra_headers=headers))
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_stream_ends_with_done(gateway: Gateway) -> None:
    with (
        gateway.openai() as client,
        client.chat.completions.with_streaming_response.create(**chat(stream=True)) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.read().rstrip().endswith(b"data: [DONE]")


def test_error_in_a_stream_reaches_the_caller(gateway: Gateway) -> None:
    headers = {"x-mock-style": "error-mid-stream", "x-mock-chunks": "6"}
    with gateway.openai() as client, pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(**chat(stream=True), extra_headers=headers))
    assert "had an error" in caught.value.message


def test_completions(gateway: Gateway) -> None:
    with gateway.openai() as client:
        answer = client.completions.create(model="gpt-4o-mini", prompt="Say something.", max_tokens=8)
        chunks = list(client.completions.create(model="gpt-4o-mini", prompt="Say.", max_tokens=8, stream=True))
    assert answer.choices[0].text
    assert chunks and all(chunk.choices for chunk in chunks)


def test_tools(gateway: Gateway) -> None:
    with gateway.openai() as client:
        answer = client.chat.completions.create(**chat(tools=[TOOL], tool_choice="required"))
        call = (answer.choices[0].message.tool_calls or [])[0]
        assert answer.choices[0].finish_reason == "tool_calls"
        assert call.type == "function" and call.function.name == "search"
        assert json.loads(call.function.arguments) == {"query": "mock"}
        chunks = list(client.chat.completions.create(**chat(tools=[TOOL], tool_choice="required", stream=True)))
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    assert json.loads(arguments) == {"query": "mock"}


def test_tool_results_go_back(gateway: Gateway) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"query":"x"}'}}
    messages = [
        {"role": "user", "content": "Search."},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "found"},
    ]
    with gateway.openai() as client:
        answer = client.chat.completions.create(**chat(messages=messages, tools=[TOOL]))
    assert answer.choices[0].message.content


class City(BaseModel):
    name: str
    people: int


def test_structured_output(start, recorder: Recorder) -> None:
    gateway = start(upstream=recorder.url)
    recorder.answer = completion('{"name":"Delft","people":106000}')
    with gateway.openai() as client:
        answer = client.chat.completions.parse(**chat(response_format=City))
    assert answer.choices[0].message.parsed == City(name="Delft", people=106000)
    sent = json.loads(recorder.last.body)
    assert sent["response_format"]["json_schema"]["strict"] is True


def test_responses(gateway: Gateway) -> None:
    headers = {"x-mock-input-tokens": "55", "x-mock-output-tokens": "20"}
    with gateway.openai() as client:
        answer = client.responses.create(model="gpt-4o-mini", input="Say something.", extra_headers=headers)
    assert answer.status == "completed"
    assert len(answer.output_text) == 4 * 20
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (55, 20)


@pytest.mark.parametrize("style", ["joined", "split"])
def test_responses_stream(gateway: Gateway, style: str) -> None:
    """Responses report their usage unasked: nothing is added, nothing is taken away."""
    headers = {"x-mock-chunks": "9", "x-mock-style": style, "x-mock-output-tokens": "36"}
    with gateway.openai() as client:
        stream = client.responses.create(model="gpt-4o-mini", input="Say.", stream=True, extra_headers=headers)
        events = list(stream)
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.usage is not None
    assert events[-1].response.usage.output_tokens == 36
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert len("".join(event.delta for event in events if event.type == "response.output_text.delta")) == 4 * 36


def test_responses_tools(gateway: Gateway) -> None:
    tool = {"type": "function", "name": "search", "parameters": {"type": "object"}, "strict": False}
    with gateway.openai() as client:
        answer = client.responses.create(model="gpt-4o-mini", input="Go.", tools=[tool], tool_choice="required")
    assert [item.type for item in answer.output] == ["function_call"]


def test_embeddings(gateway: Gateway) -> None:
    """The SDK asks for base64 and decodes it."""
    with gateway.openai() as client:
        answer = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=4)
    assert [len(item.embedding) for item in answer.data] == [4, 4]
    assert answer.usage.total_tokens > 0


def test_models_are_listed(gateway: Gateway) -> None:
    with gateway.openai() as client:
        models = {model.id for model in client.models.list()}
        assert {"gpt-4o", "gpt-4o-mini", "text-embedding-3-small"} <= models
        assert client.models.retrieve("gpt-4o").id == "gpt-4o"


def test_the_list_of_models_is_filtered_by_scope(gateway: Gateway) -> None:
    key = gateway.issue_live("gpt-4o*")
    with gateway.openai(api_key=key) as client:
        assert {model.id for model in client.models.list()} == {"gpt-4o", "gpt-4o-mini"}
        assert client.models.retrieve("gpt-4o").id == "gpt-4o"
        with pytest.raises(openai.PermissionDeniedError):
            client.models.retrieve("gpt-4.1")


def test_a_key_issued_now_is_served_now(gateway: Gateway) -> None:
    with gateway.openai(api_key=gateway.issue_live()) as client:
        assert client.chat.completions.create(**chat()).choices


def test_large_requests_and_answers_arrive_whole(gateway: Gateway) -> None:
    text = "word " * 60_000
    with gateway.openai() as client:
        answer = client.chat.completions.create(
            **chat(messages=[{"role": "user", "content": text}]), extra_headers={"x-mock-output-tokens": "4000"}
        )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > len(text) // 4
    assert len(answer.choices[0].message.content or "") == 16_000


def test_a_provider_can_be_named_in_the_path(gateway: Gateway) -> None:
    with gateway.openai(base_url=f"{gateway.url}/openai/v1") as client:
        assert client.chat.completions.create(**chat()).choices


def test_health_needs_no_key(gateway: Gateway, mock: Mock) -> None:
    assert get(f"{gateway.url}/healthz")[0] == 200
    assert get(f"{gateway.url}/readyz")[0] == 200
    assert get(f"{gateway.admin_url}/metrics")[0] == 200
    # The gateway's own port shows nobody its metrics.
    assert get(f"{gateway.url}/metrics")[0] in (401, 404)


def test_toml_is_what_it_should_be() -> None:
    """The suite writes its configurations itself."""
    table = {"a": {"b": 1, "c": {"d": ["x"]}}, "e": [{"f": True}, {"f": False}]}
    assert toml(table).split() == (
        '[a] b = 1 [a.c] d = ["x"] [[e]] f = true [[e]] f = false'.split()
    )
