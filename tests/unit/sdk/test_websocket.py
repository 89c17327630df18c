"""A WebSocket that listens: whole frames out of any cutting of the bytes, and a server that plays tricks."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_sdk.service.websocket import (
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    SocketClosed,
    WebSocket,
    encode_frame,
    parse_frame,
)

Play = Callable[[socket.socket], None]


def frame(kind: int, payload: bytes, *, final: bool = True) -> bytes:
    """As a server sends it."""
    head = bytes([(0x80 if final else 0) | kind])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 2**16:
        return head + b"\x7e" + len(payload).to_bytes(2, "big") + payload
    return head + b"\x7f" + len(payload).to_bytes(8, "big") + payload


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50))
def test_frames_are_found_however_the_bytes_are_cut(payloads: list[bytes], size: int) -> None:
    sent = b"".join(frame(TEXT, payload) for payload in payloads)
    received, found = bytearray(), []
    for start in range(0, len(sent), size):
        received += sent[start : start + size]
        while (one := parse_frame(received)) is not None:
            del received[: one.size]
            found.append(one.payload)
    assert found == payloads and not received


@pytest.mark.parametrize("sent", [b"\xc1\x00", b"\x81\x80", b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff"])
def test_what_was_not_agreed_on_is_refused(sent: bytes) -> None:
    with pytest.raises(ConnectionError):
        parse_frame(sent)


@given(st.binary(max_size=125))
def test_what_a_client_sends_is_masked(payload: bytes) -> None:
    sent = encode_frame(PONG, payload)
    assert sent[0] == 0x80 | PONG and sent[1] == 0x80 | len(payload)
    assert bytes(byte ^ sent[2 + index % 4] for index, byte in enumerate(sent[6:])) == payload


@contextmanager
def server(play: Play, answer: str = "101 Switching Protocols", accept: str | None = None) -> Iterator[str]:
    """One connection: shakes hands, then plays."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            key = next(line[19:].strip() for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key:"))
            digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            proof = accept or base64.b64encode(digest).decode()
            connection.sendall(f"HTTP/1.1 {answer}\r\nSec-WebSocket-Accept: {proof}\r\n\r\n".encode())
            play(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/live?x=1"
    finally:
        listener.close()
        thread.join(5)


def test_pieces_and_pings_make_messages_and_pongs_and_silence_loses_nothing() -> None:
    answered: list[bytes] = []
    go_on = threading.Event()

    def play(connection: socket.socket) -> None:
        whole = frame(TEXT, "größe".encode())
        connection.sendall(frame(TEXT, b"one ", final=False) + frame(PING, b"hi") + frame(CONTINUATION, b"message"))
        answered.append(connection.recv(100))
        connection.sendall(whole[:3])
        go_on.wait(5)
        connection.sendall(whole[3:] + frame(TEXT, b"x" * 70_000) + frame(0x8, (4404).to_bytes(2, "big") + b"no job"))

    with server(play) as url, closing(WebSocket(url)) as connection:
        assert connection.receive(5) == "one message"
        assert connection.receive(0.05) is None
        go_on.set()
        assert connection.receive(5) == "größe"
        assert connection.receive(5) == "x" * 70_000
        with pytest.raises(SocketClosed, match="4404 no job") as caught:
            connection.receive(5)
        assert caught.value.code == 4404
    assert len(answered[0]) == 8 and answered[0][0] == 0x80 | PONG


def test_a_connection_that_breaks_is_no_silence() -> None:
    with server(lambda connection: None) as url, closing(WebSocket(url)) as connection:
        with pytest.raises(SocketClosed) as caught:
            connection.receive(5)
        assert caught.value.code == 1006


@pytest.mark.parametrize(
    ("answer", "accept", "words"),
    [("403 Forbidden", None, "refused: HTTP/1.1 403"), ("101 Switching Protocols", "wrong", "is no WebSocket")],
)
def test_who_is_no_websocket_is_told_so(answer: str, accept: str | None, words: str) -> None:
    with server(lambda connection: None, answer, accept) as url, pytest.raises(ConnectionError, match=words):
        WebSocket(url)


def test_a_ping_is_heard_though_it_is_no_message() -> None:
    go_on = threading.Event()

    def play(connection: socket.socket) -> None:
        go_on.wait(5)
        connection.sendall(frame(PING, b""))
        connection.recv(100)

    with server(play) as url, closing(WebSocket(url)) as connection:
        opened_at = connection.heard_at
        assert connection.receive(0.05) is None and connection.heard_at == opened_at
        go_on.set()
        with pytest.raises(SocketClosed):
            connection.receive(5)
        assert connection.heard_at > opened_at
