"""HTTP by hand: sends exactly the bytes it is given, and reads answers strictly."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

TIMEOUT = 15.0


class Closed(Exception):
    """The peer closed the connection before there was an answer."""


@dataclass
class Answer:
    """One answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool
    """Whether the body ended as its framing said it would."""

    def values(self, name: str) -> list[str]:
        return [value for have, value in self.headers if have == name]

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A TCP connection to a port of this machine."""

    def __init__(self, port: int, timeout: float = TIMEOUT) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def try_send(self, data: bytes) -> bool:
        """Sends to a peer that may have closed already; whether it took the bytes."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def end_sending(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def request(self, method: str, target: str, body: bytes = b"", *headers: str) -> None:
        """Sends a well-formed request around the header lines given."""
        lines = [f"{method} {target} HTTP/1.1", f"host: 127.0.0.1:{self.port}", *headers]
        if body:
            lines.append(f"content-length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def receive(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def take_line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            if not self.receive():
                raise Closed(self.buffer)
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def take(self, count: int) -> tuple[bytes, bool]:
        while len(self.buffer) < count:
            if not self.receive():
                data, self.buffer = self.buffer, b""
                return data, False
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data, True

    def take_chunks(self) -> tuple[bytes, bool]:
        data = b""
        try:
            while size := int(self.take_line().split(b";")[0], 16):
                piece, whole = self.take(size)
                data += piece
                if not whole:
                    return data, False
                self.take_line()
            while self.take_line():
                pass
        except Closed:
            return data, False
        return data, True

    def answer(self, to_head: bool = False) -> Answer:
        """Reads one answer; interim answers (1xx) are skipped."""
        while True:
            version, status, *_ = self.take_line().split(b" ", 2)
            assert version in (b"HTTP/1.1", b"HTTP/1.0"), version
            headers: list[tuple[str, str]] = []
            while line := self.take_line():
                name, value = line.decode("latin-1").split(":", 1)
                headers.append((name.strip().lower(), value.strip()))
            if not status.startswith(b"1"):
                break
        answer = Answer(int(status), headers, b"", True)
        lengths, codings = answer.values("content-length"), answer.values("transfer-encoding")
        assert len(lengths) + len(codings) <= 1, "an answer is framed in one way"
        if to_head or answer.status in (204, 304):
            return answer
        if codings:
            assert codings == ["chunked"]
            answer.body, answer.whole = self.take_chunks()
        elif lengths:
            answer.body, answer.whole = self.take(int(lengths[0]))
        else:
            while self.receive():
                pass
            answer.body, self.buffer = self.buffer, b""
        return answer

    def is_closed(self) -> bool:
        """Waits until the peer closes; false when it sends something instead."""
        return not self.buffer and not self.receive()
