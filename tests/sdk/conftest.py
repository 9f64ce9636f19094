"""The processes under test and everything the suite assumes about them.

The contracts, in one place:

* ``tokenwatch mock-provider --listen 127.0.0.1:0 --openai-key K --anthropic-key K`` prints one JSON line with the field
  ``listen`` on stdout and serves until it is terminated. ``x-mock-*`` request headers steer its answers. Its request ids
  end in a running number in hexadecimal, which counts the requests it has received.
* ``tokenwatch --state-dir DIR key issue --name NAME [--model GLOB]... --json`` prints JSON with ``id`` and ``key``;
  ``key revoke NAME`` and ``key list --json`` do what they say.
* ``tokenwatch serve --config FILE --state-dir DIR`` serves until SIGTERM, drains, and exits with 0. SIGHUP makes it read
  its configuration and credential files again.
* ``GET /healthz`` and ``/readyz`` on the gateway's port; ``GET /metrics`` on the admin port, where every finished request
  is counted in a counter that has a label ``outcome``.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from recorder import Recorder

# Proxies of the surroundings must not come between the processes.
for _name in list(os.environ):
    if _name.lower() in {"http_proxy", "https_proxy", "all_proxy"} or _name.startswith(("OPENAI_", "ANTHROPIC_")):
        del os.environ[_name]

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30
STOP_SECONDS = 20

OPENAI_MODEL = "gpt-4o-mini"
ANTHROPIC_MODEL = "claude-haiku-4-5"

# Provider keys of the suite: planted once, searched for everywhere by test_secrets.py.
OPENAI_KEY = "sk-proj-" + secrets.token_hex(24)
ANTHROPIC_KEY = "sk-ant-api03-" + secrets.token_hex(24)


def binary() -> str:
    default = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "tokenwatch"
    path = Path(os.environ.get("TOKENWATCH_BIN", default))
    if not path.is_file():
        pytest.exit(f"there is no binary at {path}; build it or set TOKENWATCH_BIN", returncode=1)
    return str(path)


def eventually(check: Callable[[], Any], what: str, within: float = 10.0) -> Any:
    """Polls until ``check`` gives something true, and returns that."""
    end = time.monotonic() + within
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what}; last seen: {found!r}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    """One GET without any SDK; status, headers in lower case, body."""
    request = urllib.request.Request(url, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


class Process:
    """A child process whose output goes to files."""

    def __init__(self, arguments: list[str], directory: Path, name: str) -> None:
        self.stdout = directory / f"{name}.stdout"
        self.stderr = directory / f"{name}.stderr"
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def is_running(self) -> bool:
        return self.child.poll() is None

    def output(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in (self.stdout, self.stderr))

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def wait(self) -> int:
        return self.child.wait(timeout=STOP_SECONDS)

    def stop(self) -> int:
        """Ends the process, politely first; its exit code, negative when it had to be killed."""
        if self.is_running():
            self.child.terminate()
        try:
            return self.child.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()


class Mock(Process):
    """A mock provider that checks the provider keys."""

    def __init__(self, directory: Path) -> None:
        listen = ["--listen", "127.0.0.1:0"]
        keys = ["--openai-key", OPENAI_KEY, "--anthropic-key", ANTHROPIC_KEY]
        super().__init__([binary(), "mock-provider", *listen, *keys], directory, "mock")
        eventually(
            lambda: not self.is_running() or self.stdout.read_text().endswith("\n"),
            "the mock provider says where it listens",
            START_SECONDS,
        )
        assert self.is_running(), self.output()
        self.url = "http://" + json.loads(self.stdout.read_text().splitlines()[0])["listen"]

    def requests(self) -> int:
        """How many requests arrived so far; asking is one more."""
        status, headers, _ = get(f"{self.url}/v1/models", {"authorization": f"Bearer {OPENAI_KEY}"})
        assert status == 200
        return int(headers["x-request-id"].removeprefix("req_"), 16)


class Counted:
    """How many requests the mock provider received inside a ``with`` block."""

    def __init__(self, mock: Mock) -> None:
        self.mock = mock
        self.count = -1

    def __enter__(self) -> Counted:
        self.before = self.mock.requests()
        return self

    def __exit__(self, *_: object) -> None:
        # The question at the end is a request itself.
        self.count = self.mock.requests() - self.before - 1


def toml(table: dict[str, Any], path: str = "") -> str:
    """Writes nested tables; JSON's scalars and arrays are TOML's."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items() if not is_table(value)]
    text = "\n".join(lines) + "\n"
    for name, value in table.items():
        full = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            text += f"\n[{full}]\n{toml(value, full)}"
        elif is_table(value):
            text += "".join(f"\n[[{full}]]\n{toml(item, full)}" for item in value)
    return text


def is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``change`` laid over it, table by table."""
    merged = dict(base)
    for name, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged


# Every endpoint that the suite calls; some are not open to keys by default.
ENDPOINTS = [
    "chat_completions",
    "completions",
    "responses",
    "embeddings",
    "messages",
    "count_tokens",
    "models",
    "files",
    "batches",
]


class Gateway(Process):
    """A gateway with its own state directory."""

    numbers = itertools.count(1)

    def __init__(self, directory: Path, upstream: str, change: dict[str, Any] | None = None) -> None:
        self.name = f"gateway-{next(self.numbers)}"
        self.directory = directory / self.name
        self.state = self.directory / "state"
        self.directory.mkdir()
        self.credentials = {"openai": self.directory / "openai.key", "anthropic": self.directory / "anthropic.key"}
        self.put_credential("openai", OPENAI_KEY)
        self.put_credential("anthropic", ANTHROPIC_KEY)
        self.port, self.admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.config = merge(self.base(upstream), change or {})
        self.file = self.directory / "tokenwatch.toml"
        self.file.write_text(toml(self.config))
        self.names = itertools.count(1)
        # Before the process starts: the first test does not depend on how fast keys reach a running one.
        self.key = self.issue()
        self.start()

    def base(self, upstream: str) -> dict[str, Any]:
        providers = [
            {
                "name": dialect,
                "dialect": dialect,
                "base_url": upstream,
                "credentials": [f"file:{self.credentials[dialect]}"],
            }
            for dialect in ("openai", "anthropic")
        ]
        return {
            "server": {
                "listen": f"127.0.0.1:{self.port}",
                "workers": 2,
                "connect_timeout_s": 2,
                "answer_timeout_s": 20,
                "answer_stall_timeout_s": 20,
                "drain_timeout_s": 5,
            },
            "admin": {"listen": f"127.0.0.1:{self.admin_port}"},
            "log": {"level": "debug"},
            "provider": providers,
            # What the engine thinks of this traffic is tested elsewhere.
            "containment": {"mode": "observe"},
            "defaults": {"scope": {"endpoints": ENDPOINTS}},
        }

    def put_credential(self, dialect: str, secret: str) -> None:
        path = self.credentials[dialect]
        path.touch(mode=0o600)
        path.write_text(secret + "\n")

    def start(self) -> None:
        arguments = [binary(), "serve", "--config", str(self.file), "--state-dir", str(self.state)]
        super().__init__(arguments, self.directory, "serve")

        def is_ready() -> bool:
            if not self.is_running():
                raise AssertionError(f"the gateway ended:\n{self.output()}")
            try:
                return get(f"{self.url}/readyz")[0] == 200
            except OSError:
                return False

        eventually(is_ready, "the gateway is ready", START_SECONDS)

    def cli(self, *arguments: str) -> str:
        command = [binary(), "--state-dir", str(self.state), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def issue(self, *models: str) -> str:
        """A new virtual key, scoped to the models given."""
        scope = [argument for model in models for argument in ("--model", model)]
        issued = json.loads(self.cli("key", "issue", "--name", f"test-{next(self.names)}", *scope, "--json"))
        assert issued["key"].startswith("sk-tw-") and issued["id"]
        return str(issued["key"])

    def issue_live(self, *models: str) -> str:
        """A new virtual key that the running gateway already serves."""
        key = self.issue(*models)
        url, headers = f"{self.url}/v1/models", {"authorization": f"Bearer {key}"}
        eventually(lambda: get(url, headers)[0] == 200, "the new key is served")
        return key

    def openai(self, **options: Any) -> openai.OpenAI:
        options = {"api_key": self.key, "base_url": f"{self.url}/v1", "timeout": 30, "max_retries": 0, **options}
        return openai.OpenAI(**options)

    def async_openai(self, **options: Any) -> openai.AsyncOpenAI:
        options = {"api_key": self.key, "base_url": f"{self.url}/v1", "timeout": 30, "max_retries": 0, **options}
        return openai.AsyncOpenAI(**options)

    def anthropic(self, **options: Any) -> anthropic.Anthropic:
        options = {"api_key": self.key, "base_url": self.url, "timeout": 30, "max_retries": 0, **options}
        return anthropic.Anthropic(**options)

    def async_anthropic(self, **options: Any) -> anthropic.AsyncAnthropic:
        options = {"api_key": self.key, "base_url": self.url, "timeout": 30, "max_retries": 0, **options}
        return anthropic.AsyncAnthropic(**options)

    def metrics(self) -> str:
        status, _, body = get(f"{self.admin_url}/metrics")
        assert status == 200
        return body.decode()

    def outcomes(self, outcome: str) -> int:
        """Requests that ended so, over all other labels."""
        sample = re.compile(r'^tokenwatch_\w*_total\{([^}]*)\} (\d+)(?:\.0)?$', re.MULTILINE)
        label = f'outcome="{outcome}"'
        return sum(int(count) for labels, count in sample.findall(self.metrics()) if label in labels.split(","))

    def check_health(self) -> None:
        """Asserts that the process runs, is ready, and serves a plain request to each provider."""
        assert self.is_running(), self.output()
        assert get(f"{self.url}/healthz")[0] == 200

        def serves() -> bool:
            # A provider that was just made to fail may be held back by its circuit breaker for a moment.
            try:
                with self.openai() as client:
                    client.chat.completions.create(**chat())
                with self.anthropic() as client:
                    client.messages.create(**message())
            except (openai.InternalServerError, anthropic.InternalServerError):
                return False
            return True

        eventually(serves, "the gateway serves again", 15)


def chat(**more: Any) -> dict[str, Any]:
    """Arguments of a small chat request."""
    return {"model": OPENAI_MODEL, "messages": [{"role": "user", "content": "Say something."}], **more}


def message(**more: Any) -> dict[str, Any]:
    """Arguments of a small message request."""
    messages = [{"role": "user", "content": "Say something."}]
    return {"model": ANTHROPIC_MODEL, "max_tokens": 16, "messages": messages, **more}


def unknown_key() -> str:
    """A well-formed virtual key, checksum and all, that nobody issued."""
    base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    base32 = "0123456789abcdefghjkmnpqrstvwxyz"
    digits = "".join(secrets.choice(base32) for _ in range(12))
    secret = "".join(secrets.choice(base62) for _ in range(43))
    body = f"sk-tw-{digits}-{secret}"
    value, checksum = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, rest = divmod(value, 62)
        checksum = base62[rest] + checksum
    return body + checksum


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenwatch")


@pytest.fixture(scope="session")
def mock(directory: Path) -> Iterator[Mock]:
    mock = Mock(directory)
    yield mock
    mock.stop()


@pytest.fixture(scope="session")
def gateway(directory: Path, mock: Mock) -> Iterator[Gateway]:
    """The gateway that most tests share."""
    gateway = Gateway(directory, mock.url)
    yield gateway
    code = gateway.stop()
    assert code == 0, f"the gateway ended with {code}:\n{gateway.output()}"


@pytest.fixture
def start(directory: Path, mock: Mock) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways with changed configurations; ends them after the test."""
    started: list[Gateway] = []

    def start(change: dict[str, Any] | None = None, upstream: str = mock.url) -> Gateway:
        started.append(Gateway(directory, upstream, change))
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """A provider that keeps what reaches it."""
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(autouse=True)
def _alive(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves the shared gateway dead without being named."""
    yield
    if "gateway" in request.fixturenames:
        shared: Gateway = request.getfixturevalue("gateway")
        assert shared.is_running(), f"the gateway ended:\n{shared.output()}"


def pytest_report_header() -> list[str]:
    sdks = f"openai {openai.__version__}, anthropic {anthropic.__version__}"
    return [f"sdks: {sdks}; python {sys.version.split()[0]}; binary: {os.environ.get('TOKENWATCH_BIN', 'default')}"]
