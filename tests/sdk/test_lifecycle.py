"""Start, stop, crash and hand-over of the process."""

from __future__ import annotations

import signal
import threading
import time

import openai
import pytest

from conftest import Gateway, Process, binary, chat, eventually, get


def test_a_stream_is_finished_before_the_process_ends(start) -> None:
    gateway = start()
    headers = {"x-mock-chunks": "20", "x-mock-chunk-delay-ms": "50", "x-mock-output-tokens": "40"}
    with gateway.openai() as client:
        stream = iter(client.chat.completions.create(**chat(stream=True), extra_headers=headers))
        text = next(stream).choices[0].delta.content or ""
        gateway.signal(signal.SIGTERM)
        text += "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert len(text) == 160
    assert gateway.wait() == 0


def test_a_stream_that_outlasts_the_drain_time_is_cut_and_says_so(start) -> None:
    gateway = start({"server": {"drain_timeout_s": 1}})
    headers = {"x-mock-chunks": "1000", "x-mock-chunk-delay-ms": "50"}
    with gateway.openai() as client:
        stream = iter(client.chat.completions.create(**chat(stream=True), extra_headers=headers))
        next(stream)
        gateway.signal(signal.SIGTERM)
        with pytest.raises(openai.APIError) as caught:
            list(stream)
    assert "gateway" in caught.value.message.lower()
    assert gateway.wait() == 0


def test_a_stopping_gateway_takes_no_new_connections(start) -> None:
    gateway = start()
    headers = {"x-mock-chunks": "40", "x-mock-chunk-delay-ms": "50"}
    with gateway.openai() as client:
        stream = iter(client.chat.completions.create(**chat(stream=True), extra_headers=headers))
        next(stream)
        gateway.signal(signal.SIGTERM)

        def is_closed() -> bool:
            try:
                return get(f"{gateway.url}/readyz")[0] == 503
            except OSError:
                return True

        eventually(is_closed, "the gateway is no longer ready", 2)
        list(stream)
    assert gateway.wait() == 0


def test_keys_and_money_survive_a_crash(start) -> None:
    """Two requests of 1,000 output tokens fit into the budget, before and after ``kill -9`` together."""
    gateway = start({"defaults": {"budgets": {"total": "0.0013"}}})
    headers = {"x-mock-output-tokens": "1000", "x-mock-input-tokens": "20"}
    request = chat(max_completion_tokens=1000)
    with gateway.openai() as client:
        for _ in range(2):
            client.chat.completions.create(**request, extra_headers=headers)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(**request, extra_headers=headers)
    # What is promised is the loss of at most the last 100 ms.
    time.sleep(0.5)
    gateway.signal(signal.SIGKILL)
    gateway.wait()
    gateway.start()
    with gateway.openai() as client, pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**request, extra_headers=headers)


def test_a_new_process_takes_over_without_a_failed_request(start) -> None:
    """Both share the port while the old one drains; the SDK's usual two retries cover its closing socket."""
    gateway = start()
    stop = threading.Event()
    served, failed = [], []

    def call() -> None:
        with gateway.openai(max_retries=2) as client:
            while not stop.is_set():
                try:
                    client.chat.completions.create(**chat())
                    served.append(1)
                except openai.OpenAIError as error:
                    failed.append(repr(error))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        arguments = [binary(), "serve", "--config", str(gateway.file), "--state-dir", str(gateway.state)]
        new = Process(arguments, gateway.directory, "serve-2")
        before = len(served)
        eventually(lambda: not new.is_running() or len(served) > before + 100, "requests are served", 30)
        assert new.is_running(), new.output()
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        before = len(served)
        eventually(lambda: len(served) > before + 100, "the new process serves", 30)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
        code = new.stop()
    assert failed == []
    assert code == 0


def test_a_wrong_configuration_is_refused_with_every_error(start) -> None:
    gateway: Gateway = start()
    gateway.stop()
    gateway.file.write_text('[server]\nlisten = "nowhere"\nno_such_field = 1\n[log]\nformat = "xml"\n[nonsense]\n')
    arguments = [binary(), "serve", "--config", str(gateway.file), "--state-dir", str(gateway.state)]
    process = Process(arguments, gateway.directory, "wrong")
    assert process.wait() != 0
    said = process.output()
    for word in ("listen", "format", "nonsense"):
        assert word in said, said


def test_a_wrong_configuration_does_not_replace_a_good_one(start) -> None:
    gateway: Gateway = start()
    good = gateway.file.read_text()
    gateway.file.write_text("[server]\nlisten = 7\n")
    gateway.signal(signal.SIGHUP)
    eventually(lambda: "listen" in gateway.output(), "the error is said", 5)
    gateway.check_health()
    gateway.file.write_text(good)
    gateway.signal(signal.SIGHUP)
    gateway.check_health()
