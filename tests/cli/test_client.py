"""The blocking client, against things that are no node of ours."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ioe_node.cli import client
from ioe_node.conductor.frames import encode_frame
from ioe_node.errors import LocalError, TransportError

Answer = Callable[[bytes], Path]


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Answer]:
    """Something that listens where `control.json` says, and sends these bytes to whoever asks."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(data: bytes) -> None:
        with listener.accept()[0] as connection:
            connection.recv(1)
            connection.sendall(data)

    threads: list[threading.Thread] = []

    def begin(data: bytes) -> Path:
        found = {"port": listener.getsockname()[1], "token": "t"}
        (tmp_path / "control.json").write_text(json.dumps(found))
        threads.append(threading.Thread(target=serve, args=(data,)))
        threads[-1].start()
        return tmp_path

    yield begin
    for each in threads:
        each.join(5)
    listener.close()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x09half",
    ],
)
def test_what_is_no_node_is_said_in_one_line(answering: Answer, data: bytes) -> None:
    with pytest.raises(TransportError) as refused:
        client.call(answering(data), "status")
    assert "\n" not in str(refused.value)


def test_a_refusal_keeps_its_text_and_exit_code(answering: Answer) -> None:
    home = answering(encode_frame({"error": "PairingRefused", "text": "no", "exit_code": 3}))
    with pytest.raises(client.AnswerError, match="no") as refused:
        client.call(home, "status")
    assert refused.value.exit_code == 3


def test_following_yields_signals_until_the_node_ends(answering: Answer) -> None:
    signals = [{"kind": "test", "number": number} for number in range(3)]
    frames = [encode_frame({"ok": True}), *(encode_frame({"signal": each}) for each in signals)]
    following = client.follow(answering(b"".join(frames)))
    assert [next(following) for _ in signals] == signals
    with pytest.raises(TransportError, match="see its log"):
        next(following)


def test_a_node_that_hangs_is_given_up(
    answering: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = {"port": silent.getsockname()[1], "token": "t"}
        (tmp_path / "control.json").write_text(json.dumps(found))
        with pytest.raises(TransportError, match="does not answer"):
            client.call(tmp_path, "status")


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"port": 1}', '{"port": "x", "token": ""}',
             '{"port": 99999999, "token": ""}', '{"port": null, "token": ""}', "\xff"]
)  # fmt: skip
def test_a_control_file_of_any_kind_is_no_node(tmp_path: Path, text: str) -> None:
    (tmp_path / "control.json").write_text(text, encoding="latin-1")
    with pytest.raises(TransportError, match="no node runs in"):
        client.call(tmp_path, "status")


def test_what_no_message_can_say_is_not_the_nodes_fault(answering: Answer) -> None:
    home = answering(b"")
    with pytest.raises(LocalError, match="nothing to tell a node"):
        client.call(home, "app_set", settings={"max_off_s": 10**20})
