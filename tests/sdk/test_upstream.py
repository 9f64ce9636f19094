"""Providers that fail: the caller gets a clear answer in time, is charged only for what was done, and may retry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from conftest import Gateway, Mock, chat, eventually, free_port, message
from rawhttp import Connection


@pytest.fixture(scope="module")
def hasty(directory: Path, mock: Mock) -> Iterator[Gateway]:
    """A gateway that waits for providers no longer than two seconds."""
    server = {"connect_timeout_s": 1, "answer_timeout_s": 2, "answer_stall_timeout_s": 2}
    gateway = Gateway(directory, mock.url, {"server": server})
    yield gateway
    assert gateway.is_running(), gateway.output()
    gateway.stop()


@pytest.mark.parametrize(
    ("failure", "statuses"),
    [
        ("reset", (502,)),
        ("garbage", (502,)),
        ("huge-headers=1000000", (502,)),
        ("hang", (504,)),
        ("500", (500,)),
        ("503", (503,)),
    ],
)
def test_a_provider_that_fails_before_its_answer(hasty: Gateway, failure: str, statuses: tuple[int, ...]) -> None:
    headers = {"x-mock-fail": failure}
    with hasty.openai() as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**chat(), extra_headers=headers)
    assert caught.value.status_code in statuses
    assert caught.value.response.json()["error"]["message"]
    with hasty.anthropic() as other, pytest.raises(anthropic.InternalServerError) as caught_too:
        other.messages.create(**message(), extra_headers=headers)
    assert caught_too.value.status_code in statuses
    assert caught_too.value.response.json()["type"] == "error"
    hasty.check_health()


@pytest.mark.parametrize("failure", ["short-body", "reset-after=20"])
def test_an_answer_that_breaks_off_can_not_be_taken_for_whole(hasty: Gateway, failure: str) -> None:
    before = hasty.outcomes("upstream_failed")
    with Connection(hasty.port) as connection:
        body = json.dumps(chat()).encode()
        lines = [f"authorization: Bearer {hasty.key}", f"x-mock-fail: {failure}"]
        connection.request("POST", "/v1/chat/completions", body, *lines)
        answer = connection.answer()
    assert answer.status == 200
    assert not answer.whole
    eventually(lambda: hasty.outcomes("upstream_failed") > before, "the failure is booked")
    with hasty.openai() as client, pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(**chat(), extra_headers={"x-mock-fail": failure})
    hasty.check_health()


@pytest.mark.parametrize("failure", ["hang-after=2", "reset-after=300"])
def test_a_stream_that_breaks_off_ends_in_an_error(hasty: Gateway, failure: str) -> None:
    headers = {"x-mock-fail": failure, "x-mock-chunks": "20"}
    with hasty.openai() as client, pytest.raises((openai.APIError, openai.APIConnectionError)):
        list(client.chat.completions.create(**chat(stream=True), extra_headers=headers))
    hasty.check_health()


def test_a_provider_that_is_slow_but_well_is_waited_for(hasty: Gateway) -> None:
    headers = {"x-mock-chunks": "8", "x-mock-chunk-delay-ms": "500", "x-mock-output-tokens": "16"}
    with hasty.openai() as client:
        chunks = list(client.chat.completions.create(**chat(stream=True), extra_headers=headers))
    assert len("".join(chunk.choices[0].delta.content or "" for chunk in chunks)) == 64
    with hasty.openai() as client:
        assert client.chat.completions.create(**chat(), extra_headers={"x-mock-fail": "slow-head=10"}).choices


def test_a_provider_that_is_away_is_a_502_or_503_and_then_held_back(start) -> None:
    gateway = start(upstream=f"http://127.0.0.1:{free_port()}")
    statuses = []
    with gateway.openai() as client:
        for _ in range(8):
            with pytest.raises(openai.InternalServerError) as caught:
                client.chat.completions.create(**chat())
            statuses.append(caught.value.status_code)
    assert set(statuses) <= {502, 503}
    # After five failures the circuit opens: the last ones are answered without trying.
    assert statuses[-1] == 503
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert gateway.is_running()


def test_the_sdks_own_retries_get_through_a_short_failure(hasty: Gateway, mock: Mock) -> None:
    """Every attempt fails here, so all are counted: one and two retries, none of them by the gateway."""
    before = mock.requests()
    with hasty.openai(max_retries=2) as client, pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**chat(), extra_headers={"x-mock-fail": "500"})
    assert mock.requests() - before - 1 == 3
    hasty.check_health()
