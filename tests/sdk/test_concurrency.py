"""Async clients, many at once; clients that give up; what is booked for them."""

from __future__ import annotations

import asyncio

import anthropic
import openai
import pytest

from conftest import Counted, Gateway, Mock, chat, eventually, message

MANY = 50


async def test_many_calls_at_once(gateway: Gateway) -> None:
    """Every caller gets its own answer, whole: counts differ, so a mixed-up answer would show."""

    async def call(client: openai.AsyncOpenAI, number: int) -> None:
        headers = {"x-mock-output-tokens": str(number), "x-mock-input-tokens": str(1000 + number)}
        answer = await client.chat.completions.create(**chat(), extra_headers=headers)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == 1000 + number
        assert len(answer.choices[0].message.content or "") == 4 * number

    async with gateway.async_openai() as client:
        await asyncio.gather(*(call(client, number) for number in range(1, MANY + 1)))


async def test_many_streams_at_once(gateway: Gateway) -> None:
    async def call(client: openai.AsyncOpenAI, number: int) -> None:
        headers = {"x-mock-output-tokens": str(number), "x-mock-chunks": "10", "x-mock-chunk-delay-ms": "5"}
        stream = await client.chat.completions.create(**chat(stream=True), extra_headers=headers)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert len(text) == 4 * number

    async with gateway.async_openai() as client:
        await asyncio.gather(*(call(client, number) for number in range(1, MANY + 1)))


async def test_many_messages_of_both_kinds_at_once(gateway: Gateway) -> None:
    async def whole(client: anthropic.AsyncAnthropic, number: int) -> None:
        headers = {"x-mock-output-tokens": str(number)}
        answer = await client.messages.create(**message(), extra_headers=headers)
        assert answer.usage.output_tokens == number

    async def streamed(client: anthropic.AsyncAnthropic, number: int) -> None:
        headers = {"x-mock-output-tokens": str(number), "x-mock-chunks": "5", "x-mock-chunk-delay-ms": "5"}
        async with client.messages.stream(**message(), extra_headers=headers) as stream:
            last = await stream.get_final_message()
        assert last.usage.output_tokens == number

    async with gateway.async_anthropic() as client:
        calls = [(whole if number % 2 else streamed)(client, number) for number in range(1, MANY + 1)]
        await asyncio.gather(*calls)


async def test_a_limit_on_concurrency_is_exact(start) -> None:
    gateway = start({"defaults": {"limits": {"concurrency": 5}}})
    headers = {"x-mock-delay-ms": "1500"}

    async def call(client: openai.AsyncOpenAI) -> bool:
        try:
            await client.chat.completions.create(**chat(), extra_headers=headers)
        except openai.RateLimitError:
            return False
        return True

    async with gateway.async_openai() as client:
        served = await asyncio.gather(*(call(client) for _ in range(20)))
    assert sum(served) == 5


async def test_a_budget_is_exact_under_concurrency(start, mock: Mock) -> None:
    """What 1,000 output tokens of gpt-4o-mini may cost fits a few times into the budget; all else is refused."""
    gateway = start({"defaults": {"budgets": {"day": "0.005"}}})
    headers = {"x-mock-delay-ms": "500", "x-mock-output-tokens": "1000", "x-mock-input-tokens": "20"}

    async def call(client: openai.AsyncOpenAI) -> bool:
        try:
            await client.chat.completions.create(**chat(max_completion_tokens=1000), extra_headers=headers)
        except openai.RateLimitError:
            return False
        return True

    with Counted(mock) as counted:
        async with gateway.async_openai() as client:
            served = await asyncio.gather(*(call(client) for _ in range(40)))
    # $0.60 a million output tokens: 1,000 tokens cost $0.0006, and eight fit.
    assert 1 <= sum(served) <= 8
    assert counted.count == sum(served)


def test_a_client_that_times_out_gets_its_own_error_and_is_booked(gateway: Gateway) -> None:
    """The provider charges a whole answer whether anybody reads it or not, so the gateway sees it through. Whether the
    client had left or only stopped sending shows when the answer is written, if at all."""

    def booked() -> int:
        return gateway.outcomes("client_left") + gateway.outcomes("served")

    before = booked()
    with gateway.openai(timeout=0.3) as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**chat(), extra_headers={"x-mock-delay-ms": "1500"})
    eventually(lambda: booked() > before, "the lost request is booked")
    gateway.check_health()


def test_a_client_that_leaves_in_the_middle_of_a_stream_is_booked(gateway: Gateway) -> None:
    before = gateway.outcomes("client_left")
    headers = {"x-mock-chunks": "200", "x-mock-chunk-delay-ms": "20"}
    with gateway.openai() as client:
        stream = client.chat.completions.create(**chat(stream=True), extra_headers=headers)
        next(iter(stream))
        stream.close()
    eventually(lambda: gateway.outcomes("client_left") > before, "the abandoned stream is booked")
    with gateway.anthropic() as other:
        stream_too = other.messages.create(**message(stream=True), extra_headers=headers)
        next(iter(stream_too))
        stream_too.close()
    eventually(lambda: gateway.outcomes("client_left") > before + 1, "the abandoned stream is booked")
    gateway.check_health()


async def test_fifty_clients_that_leave_at_once_do_no_harm(gateway: Gateway) -> None:
    before = gateway.outcomes("client_left")
    headers = {"x-mock-chunks": "200", "x-mock-chunk-delay-ms": "20"}

    async def leave(client: openai.AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(**chat(stream=True), extra_headers=headers)
        await anext(aiter(stream))
        await stream.close()

    async with gateway.async_openai() as client:
        await asyncio.gather(*(leave(client) for _ in range(MANY)))
    eventually(lambda: gateway.outcomes("client_left") >= before + MANY, "all of them are booked")
    gateway.check_health()


def test_a_served_request_is_booked_once(gateway: Gateway) -> None:
    before = gateway.outcomes("served")
    with gateway.openai() as client:
        client.chat.completions.create(**chat())
    eventually(lambda: gateway.outcomes("served") > before, "the request is booked")
