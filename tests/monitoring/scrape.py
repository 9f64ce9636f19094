"""Runs a server, sends it requests, lets a Prometheus scrape it, and asks that every query of the rules and the board.

Exit code 0 when Prometheus could scrape the server and answer each query, and each metric that is named in them exists.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(sys.argv[1])
BINARY = os.environ["TOKENWATCH_BIN"]
SECONDS = 60
# From the recording rules, not from the server.
RECORDED = re.compile(r"\btokenwatch:[a-z0-9_:]+")
NAMED = re.compile(r"\btokenwatch_[a-z0-9_]+")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def fetch(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return answer.read().decode()


def wait_for(what: str, look):
    end = time.monotonic() + SECONDS
    while True:
        try:
            if found := look():
                return found
        except OSError:
            pass
        if time.monotonic() > end:
            sys.exit(f"{what} did not come within {SECONDS} s")
        time.sleep(0.2)


def post(url: str, key: str) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
    fields = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), fields)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(request, timeout=10).read()
    except urllib.error.HTTPError as refused:
        refused.read()


def queries() -> list[tuple[str, str]]:
    """Every query with where it stands. Rules are one `expr:` each; of folded ones the lines that follow."""
    found = []
    for group in json.loads(fetch(f"{PROMETHEUS}/api/v1/rules"))["data"]["groups"]:
        for rule in group["rules"]:
            found.append((f"rule {rule['name']}", rule["query"]))
    board = json.loads((ROOT / "deploy/grafana/tokenwatch.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$job", ".*").replace("$instance", ".*")
            found.append((f"panel {panel['title']}", query))
    return found


def check_queries(metrics: str) -> list[str]:
    wrong = []
    exposed = set(re.findall(r"^([a-z_0-9]+)[{ ]", metrics, re.MULTILINE))
    recorded = set(re.findall(r"record: (\S+)", (ROOT / "deploy/prometheus/tokenwatch.rules.yml").read_text()))
    for place, query in queries():
        wrong += [f"{place}: no metric {name}" for name in NAMED.findall(query) if name not in exposed]
        wrong += [f"{place}: no recording rule {name}" for name in RECORDED.findall(query) if name not in recorded]
        answer = json.loads(fetch(f"{PROMETHEUS}/api/v1/query?query={urllib.parse.quote(query)}"))
        if answer["status"] != "success":
            wrong.append(f"{place}: {answer}")
    return wrong


def check_labels(metrics: str) -> list[str]:
    """A label that is selected by a value which no series has would never match: a rule that can not fire."""
    wrong = []
    for place, query in queries():
        for name, selector in re.findall(r"(tokenwatch_[a-z0-9_]+)\{([^}]*)\}", query):
            for label, operator, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', selector):
                if label in ("job", "instance"):
                    continue
                series = [line for line in metrics.splitlines() if line.startswith(name + "{")]
                values = {v for line in series for v in re.findall(rf'\b{label}="([^"]*)"', line)}
                for wanted in value.split("|") if operator == "=~" else [value]:
                    if wanted not in values:
                        wrong.append(f"{place}: no series of {name} has {label}={wanted!r}, only {sorted(values)}")
    return wrong


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        config = Path(folder) / "tokenwatch.toml"
        mock = subprocess.Popen(
            [BINARY, "mock-provider", "--listen", "127.0.0.1:0", "--openai-key", "sk-mock", "--anthropic-key", "sk-mock"],
            stdout=subprocess.PIPE, text=True,
        )
        running = [mock]
        try:
            provider = json.loads(mock.stdout.readline())["listen"]
            gateway, admin = free_port(), free_port()
            config.write_text(
                f'[server]\nlisten = "127.0.0.1:{gateway}"\n[admin]\nlisten = "127.0.0.1:{admin}"\n'
                f'[[provider]]\nname = "openai"\ndialect = "openai"\nbase_url = "http://{provider}"\n'
                'credentials = ["env:MOCK_KEY"]\n'
            )
            issued = subprocess.run(
                [BINARY, "--state-dir", state, "key", "issue", "--name", "monitored", "--json"],
                check=True, capture_output=True, text=True,
            )
            key = json.loads(issued.stdout)["key"]
            running.append(subprocess.Popen(
                [BINARY, "serve", "--config", config, "--state-dir", state],
                env={**os.environ, "MOCK_KEY": "sk-mock"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ))
            wait_for("the server", lambda: fetch(f"http://127.0.0.1:{gateway}/readyz"))
            for presented in [key, key, "sk-tw-not-a-key"]:
                post(f"http://127.0.0.1:{gateway}", presented)
            metrics = fetch(f"http://127.0.0.1:{admin}/metrics")
            wrong = watch(Path(folder), admin, running) + check_queries(metrics) + check_labels(metrics)
        finally:
            for process in reversed(running):
                process.terminate()
            for process in running:
                process.wait()
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(wrong)} of the rules' and the board's queries are wrong" if wrong else "rules and board answer")
    sys.exit(bool(wrong))


def watch(folder: Path, admin: int, running: list) -> list[str]:
    """Starts a Prometheus on the server with the rules; what is wrong with its view of them."""
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy/prometheus/tokenwatch.rules.yml")],
        "scrape_configs": [{"job_name": "tokenwatch", "static_configs": [{"targets": [f"127.0.0.1:{admin}"]}]}],
    }
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    subprocess.run(["promtool", "check", "config", str(folder / "prometheus.yml")], check=True, stdout=subprocess.DEVNULL)
    running.append(subprocess.Popen(
        ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}",
         f"--web.listen-address={PROMETHEUS.removeprefix('http://')}", "--log.level=error"],
    ))
    scraped = f"{PROMETHEUS}/api/v1/query?query=" + urllib.parse.quote('tokenwatch_requests_total{outcome="served"}')
    wait_for("a scrape", lambda: json.loads(fetch(scraped))["data"]["result"])

    def evaluated():
        groups = json.loads(fetch(f"{PROMETHEUS}/api/v1/rules"))["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None

    rules = wait_for("every rule's evaluation", evaluated)
    wrong = [f"rule {rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]
    firing = [rule["name"] for rule in rules if rule.get("state") == "firing"]
    return wrong + [f"alert {name} fires on a healthy server" for name in firing]


PROMETHEUS = f"http://127.0.0.1:{free_port()}"
if __name__ == "__main__":
    main()
