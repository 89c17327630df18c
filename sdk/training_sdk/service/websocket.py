"""A WebSocket that listens (RFC 6455): enough for live updates, without a package for it.

No extensions, no subprotocols; what is sent is pongs and the closing frame.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import time as clock
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S: Final = 10.0
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
HEAD_BYTES_MAX: Final = 64 * 1024
CONTINUATION, TEXT, CLOSE, PING = 0x0, 0x1, 0x8, 0x9
PONG: Final = 0xA
_ACCEPT: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class SocketClosed(ConnectionError):
    """The other side ended it; ``code`` is its reason (RFC 6455, 7.4), 1006 where it gave none."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket was closed: {code} {reason}".rstrip())
        self.code = code


@dataclass(frozen=True, slots=True)
class Frame:
    final: bool
    kind: int
    payload: bytes
    size: int
    """Bytes that it took on the wire."""


class WebSocket:
    """Open until ``close``. Raises OSError (SocketClosed among them) when the connection fails.

    ``heard_at``: when anything came last, pings among it, on the monotonic clock.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        port = parts.port or (443 if secure else 80)
        self._socket = socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT_S)
        self._received = bytearray()
        self.heard_at = clock.monotonic()
        self._message = bytearray()
        try:
            if secure:
                context = ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
            self._shake_hands(parts.netloc, f"{parts.path}?{parts.query}")
        except BaseException:
            self._socket.close()
            raise

    def receive(self, timeout_s: float) -> str | None:
        """The next message; None when none comes in time. Nothing is lost between two calls."""
        deadline = clock.monotonic() + timeout_s
        while True:
            while (frame := parse_frame(self._received)) is not None:
                del self._received[: frame.size]
                text = self._take(frame)
                if text is not None:
                    return text
            if not self._fill(deadline):
                return None

    def close(self) -> None:
        try:
            self._socket.settimeout(1.0)
            self._socket.sendall(encode_frame(CLOSE, (1000).to_bytes(2, "big")))
        except OSError:
            pass  # gone already
        self._socket.close()

    def _take(self, frame: Frame) -> str | None:
        if frame.kind == PING:
            self._socket.settimeout(CONNECT_TIMEOUT_S)
            self._socket.sendall(encode_frame(PONG, frame.payload))
        elif frame.kind == CLOSE:
            code = int.from_bytes(frame.payload[:2], "big") if len(frame.payload) >= 2 else 1005
            raise SocketClosed(code, frame.payload[2:].decode("utf-8", "replace"))
        elif frame.kind in (TEXT, CONTINUATION):
            self._message += frame.payload
            if len(self._message) > MESSAGE_BYTES_MAX:
                raise ConnectionError(f"a message has more than {MESSAGE_BYTES_MAX} bytes")
            if frame.final:
                text, self._message = self._message.decode(), bytearray()
                return text
        return None

    def _fill(self, deadline: float) -> bool:
        """Wait for bytes. False when none came in time."""
        left = deadline - clock.monotonic()
        if left <= 0:
            return False
        self._socket.settimeout(left)
        try:
            received = self._socket.recv(65_536)
        except TimeoutError:
            return False
        if not received:
            raise SocketClosed(1006, "the connection broke")
        self._received += received
        self.heard_at = clock.monotonic()
        return True

    def _shake_hands(self, host: str, target: str) -> None:
        key = base64.b64encode(os.urandom(16))
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key.decode()}", "Sec-WebSocket-Version: 13", "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        deadline = clock.monotonic() + CONNECT_TIMEOUT_S
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > HEAD_BYTES_MAX or not self._fill(deadline):
                raise ConnectionError("the other side does not answer as a WebSocket does")
        head = self._received[:end].decode("latin-1").split("\r\n")
        del self._received[: end + 4]
        if head[0].split()[1:2] != ["101"]:
            raise ConnectionError(f"the WebSocket was refused: {head[0][:200]}")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        accepted = base64.b64encode(hashlib.sha1(key + _ACCEPT, usedforsecurity=False).digest()).decode()
        if headers.get("sec-websocket-accept") != accepted:
            raise ConnectionError("the other side is no WebSocket: its answer to the key is wrong")


def parse_frame(received: bytes | bytearray) -> Frame | None:
    """The first frame, None while it is not whole. Raises ConnectionError for what no server sends."""
    if len(received) < 2:
        return None
    if received[0] & 0x70 or received[1] & 0x80:
        raise ConnectionError("a frame uses what was not agreed on")
    length, start = received[1] & 0x7F, 2
    if length >= 126:
        start = 4 if length == 126 else 10
        if len(received) < start:
            return None
        length = int.from_bytes(received[2:start], "big")
    if length > MESSAGE_BYTES_MAX:
        raise ConnectionError(f"a frame has {length} bytes, at most {MESSAGE_BYTES_MAX} are taken")
    end = start + length
    if len(received) < end:
        return None
    return Frame(bool(received[0] & 0x80), received[0] & 0x0F, bytes(received[start:end]), end)


def encode_frame(kind: int, payload: bytes) -> bytes:
    """A control frame of a client: masked, at most 125 bytes."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([0x80 | kind, 0x80 | len(payload)]) + mask + masked
