"""The queue to one client: in order, bounded, and with its gaps told."""

import msgspec
import pytest

from ioe_node.api import conductor_socket
from ioe_node.api.conductor_frames import app_signal
from ioe_node.api.conductor_socket import Outbox

decode = msgspec.msgpack.decode


def signal(number: int) -> "object":
    return lambda seq: app_signal((b"d", b"a"), "zome", number, seq)


class Sent:
    """What a client would read."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.outbox = Outbox(self._frame)

    def _frame(self, message: bytes) -> bytes:
        self.messages.append(message)
        return message

    def drain(self) -> list[object]:
        while self.outbox.take():
            pass
        shown: list[object] = []
        for message in self.messages:
            inner = decode(decode(message)["data"]) if message[:1] == b"\x82" else message
            if isinstance(inner, bytes):
                shown.append(inner)
            elif inner["type"] == "app":
                shown.append((inner["value"]["seq"], decode(inner["value"]["signal"])))
            else:
                shown.append(inner["value"])
        self.messages.clear()
        return shown


def test_signals_come_before_the_answer_that_follows_them() -> None:
    sent = Sent()
    sent.outbox.put_signal(signal(7))  # type: ignore[arg-type]
    sent.outbox.put(b"answer")
    assert sent.drain() == [(0, 7), b"answer"]
    assert sent.outbox.unsent_bytes == 0


def test_what_a_slow_client_misses_is_told_once_and_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conductor_socket, "SIGNALS_MAX", 3)
    sent = Sent()
    for number in range(5):
        sent.outbox.put_signal(signal(number))  # type: ignore[arg-type]
    sent.outbox.put(b"answer")
    assert sent.drain() == [
        (0, 0),
        (1, 1),
        (2, 2),
        b"answer",
        {"SignalsMissed": {"missed": 2, "next_seq": 5}},
    ]
    sent.outbox.put_signal(signal(5))  # type: ignore[arg-type]
    assert sent.drain() == [(5, 5)]


def test_no_signal_passes_a_gap_that_was_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conductor_socket, "SIGNALS_MAX", 2)
    monkeypatch.setattr(conductor_socket, "BATCH_BYTES", 1)
    sent = Sent()
    for number in range(3):
        sent.outbox.put_signal(signal(number))  # type: ignore[arg-type]
    sent.outbox.take()
    sent.outbox.put_signal(signal(3))  # type: ignore[arg-type]
    assert sent.drain() == [(0, 0), (1, 1), {"SignalsMissed": {"missed": 2, "next_seq": 4}}]


def test_large_signals_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conductor_socket, "SIGNALS_BYTES_MAX", 10)
    sent = Sent()
    sent.outbox.put_signal(signal(0))  # type: ignore[arg-type]
    sent.outbox.put_signal(signal(1))  # type: ignore[arg-type]
    assert sent.drain() == [(0, 0), {"SignalsMissed": {"missed": 1, "next_seq": 2}}]
