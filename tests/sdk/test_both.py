"""What both SDKs do, in both their forms: blocking and asynchronous."""

from __future__ import annotations

import asyncio
import json
import threading

import anthropic
import httpx2
import openai
import pytest

from conftest import Counted, Gateway, Mock, chat, eventually, message

SLOWLY = {"x-mock-chunks": "200", "x-mock-chunk-delay-ms": "20"}
SEARCH = {"query": "mock"}
OPENAI_TOOL = {
    "type": "function",
    "function": {"name": "search", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
}
ANTHROPIC_TOOL = {
    "name": "search",
    "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}


async def test_async_chat_streams_tools_responses_and_embeddings(gateway: Gateway) -> None:
    headers = {"x-mock-chunks": "6", "x-mock-output-tokens": "12"}
    async with gateway.async_openai() as client:
        answer = await client.chat.completions.create(**chat(), extra_headers=headers)
        assert len(answer.choices[0].message.content or "") == 4 * 12
        stream = await client.chat.completions.create(**chat(stream=True), extra_headers=headers)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert len(text) == 4 * 12
        called = await client.chat.completions.create(**chat(tools=[OPENAI_TOOL], tool_choice="required"))
        call = (called.choices[0].message.tool_calls or [])[0]
        assert call.type == "function" and json.loads(call.function.arguments) == SEARCH
        whole = await client.responses.create(model="gpt-4o-mini", input="Say.", extra_headers=headers)
        assert len(whole.output_text) == 4 * 12
        events = [
            event.type
            async for event in await client.responses.create(
                model="gpt-4o-mini", input="Say.", stream=True, extra_headers=headers
            )
        ]
        assert (events[0], events[-1]) == ("response.created", "response.completed")
        embedded = await client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=4)
        assert [len(item.embedding) for item in embedded.data] == [4, 4]
        assert "gpt-4o" in {model.id async for model in client.models.list()}


async def test_async_messages_streams_and_tools(gateway: Gateway) -> None:
    headers = {"x-mock-chunks": "6", "x-mock-output-tokens": "12"}
    request = message(tools=[ANTHROPIC_TOOL], tool_choice={"type": "any"})
    async with gateway.async_anthropic() as client:
        answer = await client.messages.create(**message(), extra_headers=headers)
        assert answer.usage.output_tokens == 12
        async with client.messages.stream(**message(), extra_headers=headers) as stream:
            assert len("".join([text async for text in stream.text_stream])) == 4 * 12
        called = await client.messages.create(**request)
        async with client.messages.stream(**request) as stream:
            streamed = await stream.get_final_message()
        assert [whole.content[0].input for whole in (called, streamed)] == [SEARCH, SEARCH]
        plain = message()
        del plain["max_tokens"]
        counted = await client.messages.count_tokens(**plain, extra_headers={"x-mock-input-tokens": "7"})
        assert counted.input_tokens == 7


def test_tool_results_go_back_to_anthropic(gateway: Gateway) -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "search", "input": SEARCH}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "found"}]}
    messages = [
        {"role": "user", "content": "Search."},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    with gateway.anthropic() as client:
        answer = client.messages.create(**message(messages=messages, tools=[ANTHROPIC_TOOL]))
    assert answer.content[0].type == "text"


def test_a_conversation_of_responses_goes_on_with_tool_results(gateway: Gateway) -> None:
    items = [
        {"role": "user", "content": "Search."},
        {"type": "function_call", "call_id": "call_1", "name": "search", "arguments": '{"query":"x"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "found"},
    ]
    with gateway.openai() as client:
        assert client.responses.create(model="gpt-4o-mini", input=items).output_text


def test_raw_and_streaming_responses_pass(gateway: Gateway) -> None:
    """Under the comfortable calls the SDKs hand out heads and bytes: those are the gateway's."""
    with gateway.openai() as client, gateway.anthropic() as other:
        for raw in (
            client.chat.completions.with_raw_response.create(**chat()),
            other.messages.with_raw_response.create(**message()),
        ):
            assert raw.status_code == 200
            assert raw.headers["x-tokenwatch-request-id"]
            assert raw.parse()
        for streaming in (
            client.chat.completions.with_streaming_response.create(**chat()),
            other.messages.with_streaming_response.create(**message()),
        ):
            with streaming as answer:
                assert json.loads(answer.read())["model"]


@pytest.mark.parametrize("phase", ["head", "stream"])
async def test_a_timeout_is_an_error_of_the_sdk_and_booked(gateway: Gateway, phase: str) -> None:
    """While the answer is waited for, and between two pieces of a stream. The provider charges a whole answer whether
    anybody reads it or not, so the gateway sees it through and it may count as served."""

    def booked() -> int:
        return gateway.outcomes("client_left") + gateway.outcomes("served")

    slow = {"x-mock-delay-ms": "1500"} if phase == "head" else {"x-mock-chunks": "3", "x-mock-chunk-delay-ms": "1500"}
    is_stream = phase == "stream"
    timeout, other_timeout = openai.Timeout(30, read=0.4), anthropic.Timeout(30, read=0.4)
    before = booked()
    # Inside a stream Anthropic's SDK hands on the exception of its HTTP library.
    expected = (openai.APITimeoutError, anthropic.APITimeoutError, httpx2.ReadTimeout)
    with gateway.openai(timeout=timeout) as client, pytest.raises(expected):
        answer = client.chat.completions.create(**chat(stream=is_stream), extra_headers=slow)
        list(answer) if is_stream else None
    with gateway.anthropic(timeout=other_timeout) as other, pytest.raises(expected):
        answer = other.messages.create(**message(stream=is_stream), extra_headers=slow)
        list(answer) if is_stream else None
    async with gateway.async_openai(timeout=timeout) as client:
        with pytest.raises(expected):
            answer = await client.chat.completions.create(**chat(stream=is_stream), extra_headers=slow)
            [chunk async for chunk in answer] if is_stream else None
    async with gateway.async_anthropic(timeout=other_timeout) as other:
        with pytest.raises(expected):
            answer = await other.messages.create(**message(stream=is_stream), extra_headers=slow)
            [event async for event in answer] if is_stream else None
    eventually(lambda: booked() >= before + 4, "all four are booked")
    gateway.check_health()


async def test_a_cancelled_task_leaves_its_stream_and_is_booked(gateway: Gateway) -> None:
    """How asynchronous programs leave: the task is cancelled while it waits for the next piece."""
    before = gateway.outcomes("client_left")
    begun = asyncio.Semaphore(0)

    async def read_chat(client: openai.AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(**chat(stream=True), extra_headers=SLOWLY)
        async for _ in stream:
            begun.release()

    async def read_responses(client: openai.AsyncOpenAI) -> None:
        stream = await client.responses.create(model="gpt-4o-mini", input="Go.", stream=True, extra_headers=SLOWLY)
        async for _ in stream:
            begun.release()

    async def read_messages(client: anthropic.AsyncAnthropic) -> None:
        async with client.messages.stream(**message(), extra_headers=SLOWLY) as stream:
            async for _ in stream.text_stream:
                begun.release()

    async with gateway.async_openai() as client, gateway.async_anthropic() as other:
        for reading in (read_chat(client), read_responses(client), read_messages(other)):
            task = asyncio.create_task(reading)
            await begun.acquire()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            begun = asyncio.Semaphore(0)
    eventually(lambda: gateway.outcomes("client_left") >= before + 3, "all three are booked")
    gateway.check_health()


@pytest.mark.parametrize("failure", ["429=1", "500", "529"])
async def test_the_sdks_retry_the_providers_failures_themselves(gateway: Gateway, mock: Mock, failure: str) -> None:
    """The gateway sends each of their attempts once: retries do not multiply."""
    fail = {"x-mock-fail": failure}
    with Counted(mock) as counted:
        with gateway.openai(max_retries=1) as client, pytest.raises(openai.APIStatusError):
            client.chat.completions.create(**chat(), extra_headers=fail)
        with gateway.anthropic(max_retries=1) as other, pytest.raises(anthropic.APIStatusError):
            other.messages.create(**message(), extra_headers=fail)
    assert counted.count == 4
    gateway.check_health()
    with Counted(mock) as counted:
        async with gateway.async_openai(max_retries=1) as client:
            with pytest.raises(openai.APIStatusError):
                await client.chat.completions.create(**chat(), extra_headers=fail)
        async with gateway.async_anthropic(max_retries=1) as other:
            with pytest.raises(anthropic.APIStatusError):
                await other.messages.create(**message(), extra_headers=fail)
    assert counted.count == 4
    gateway.check_health()


def test_anthropics_sdk_waits_as_the_gateway_says_and_then_succeeds(start) -> None:
    gateway = start({"defaults": {"limits": {"concurrency": 1}}})
    seen: list[str] = []
    http = anthropic.DefaultHttpxClient(event_hooks={"request": [lambda request: seen.append(str(request.url))]})
    with gateway.anthropic() as busy, gateway.anthropic(max_retries=5, http_client=http) as patient:
        headers = {"x-mock-chunks": "30", "x-mock-chunk-delay-ms": "50"}
        stream = busy.messages.create(**message(stream=True), extra_headers=headers)
        next(iter(stream))
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        assert patient.messages.create(**message()).content
        reader.join()
    assert len(seen) >= 2, "the first attempt must have met the limit"


async def test_refusals_are_the_same_exceptions_in_async(gateway: Gateway, mock: Mock) -> None:
    scoped = gateway.issue_live("no-such-model")
    with Counted(mock) as counted:
        async with gateway.async_openai(api_key="sk-tw-nobody") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(**chat())
        async with gateway.async_anthropic(api_key="sk-tw-nobody") as other:
            with pytest.raises(anthropic.AuthenticationError):
                await other.messages.create(**message())
        async with gateway.async_openai(api_key=scoped) as client:
            with pytest.raises(openai.PermissionDeniedError) as caught:
                await client.responses.create(model="gpt-4o-mini", input="Go.", stream=True)
            assert caught.value.code == "model_not_in_scope"
            with pytest.raises(openai.PermissionDeniedError):
                await client.embeddings.create(model="text-embedding-3-small", input="a")
        async with gateway.async_anthropic(api_key=scoped) as other:
            with pytest.raises(anthropic.PermissionDeniedError):
                async with other.messages.stream(**message()) as stream:
                    await stream.get_final_message()
    assert counted.count == 0
