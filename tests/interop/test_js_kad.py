"""js-libp2p's kad-dht finds a network's members through one of them, and is found through us."""

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from subprocess import PIPE
from typing import Any

import trio

from dna.neighbourhood import DNA
from ioe_node.clock import SystemClock
from ioe_node.conductor.cell import Cell
from ioe_node.conductor.signals import Signals
from ioe_node.hdk import DnaDef
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.signing import Signer
from ioe_node.net.foreign_peers import closest_to
from ioe_node.net.libp2p_transport import Libp2pTransport, open_transport
from ioe_node.net.peer_id import (
    agent_of_peer_id,
    join_address,
    peer_id_bytes,
    peer_id_of,
    split_address,
)
from ioe_node.store.store import Store
from ioe_node.workflows.bell import Workers
from ioe_node.workflows.space import Space

PATIENCE_S = 90


class Lines:
    """What a process prints, line by line."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._rest = b""

    async def next(self) -> bytes:
        while b"\n" not in self._rest:
            data = await self._stream.receive_some()
            assert data, "the process has ended"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line


@dataclass
class JsPeer:
    """A js-libp2p node that serves the network's kad-dht."""

    process: trio.Process
    id: str
    addresses: list[str]
    lines: Lines

    @property
    def agent(self) -> AgentPubKey:
        return agent_of_peer_id(self.id)

    def bare_addresses(self) -> tuple[str, ...]:
        return tuple(split_address(text)[1] for text in self.addresses)

    async def told_to(self, what: str, **arguments: str) -> Any:
        """Have it do something; its answer."""
        assert self.process.stdin is not None
        command = json.dumps({"do": what, **arguments})
        await self.process.stdin.send_all(command.encode() + b"\n")
        answer = json.loads(await self.lines.next())
        assert "error" not in answer, answer["error"]
        return answer["result"]


@asynccontextmanager
async def js_peer(script: Path, protocol: str) -> AsyncIterator[JsPeer]:
    command = ["node", str(script), protocol]
    process = await trio.lowlevel.open_process(command, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    async with process.stdin, process.stdout:
        try:
            lines = Lines(process.stdout)
            first = json.loads(await lines.next())
            yield JsPeer(process, first["id"], first["addresses"], lines)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


@asynccontextmanager
async def cell_of(
    definition: DnaDef, signer: Signer, folder: Path, bootstrap: Libp2pTransport | None
) -> AsyncIterator[Space]:
    """A member's cell on a libp2p host of its own."""
    async with open_transport(signer.seed, "/ip4/127.0.0.1/tcp/0") as transport:
        known = []
        if bootstrap is not None:
            transport.learn(bootstrap.agent, bootstrap.addresses())
            known = [bootstrap.agent]
        store = Store(folder / f"{peer_id_of(signer.agent)}.sqlite")
        cell = Cell(
            definition,
            signer,
            store,
            transport,
            SystemClock(),
            Random(1),
            Workers(),
            None,
            Signals(),
            tuple(known),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(cell.run)
            yield cell.space
            nursery.cancel_scope.cancel()
        store.close()


async def known_to(space: Space, agent: AgentPubKey) -> None:
    """Wait until a member knows another."""
    with trio.fail_after(PATIENCE_S):
        while agent not in space.others():
            await space.peers_bell.wait(0.1)


async def test_peers_are_found_both_ways(
    js_script: Callable[[str, str], Path], tmp_path: Path
) -> None:
    script = js_script("js_kad", "peer.mjs")
    signers = [Signer(os.urandom(32)) for _ in range(2)]
    stewards = tuple(signer.agent for signer in signers)
    definition = replace(DNA, seed="routed", properties=replace(DNA.properties, stewards=stewards))
    async with (
        cell_of(definition, signers[0], tmp_path, None) as first,
        cell_of(definition, signers[1], tmp_path, first.transport) as second,
        js_peer(script, first.kad_protocol) as one,
        js_peer(script, first.kad_protocol) as other,
    ):
        await known_to(first, second.agent)
        with trio.fail_after(PATIENCE_S):
            await js_finds_our_second_through_our_first(one, first, second)
            await js_finds_js_through_us(other, one, first)
            await ours_finds_js(one, other, first, second)
        assert {*first.others(), *second.others()} == {first.agent, second.agent}
        assert not first.transport.charges
        assert not second.transport.charges


async def js_finds_our_second_through_our_first(js: JsPeer, first: Space, second: Space) -> None:
    wanted = peer_id_of(second.agent)
    await js.told_to("dial", to=join_address(first.agent, first.transport.addresses()[0]))
    found = await js.told_to("findPeer", id=wanted)
    assert found == {"id": wanted, "addresses": list(second.transport.addresses())}
    closest = await js.told_to("closest", key=peer_id_bytes(second.agent).hex())
    assert {peer["id"] for peer in closest} >= {wanted, peer_id_of(first.agent)}
    assert await js.told_to("dial", to=wanted) == wanted


async def js_finds_js_through_us(js: JsPeer, wanted: JsPeer, first: Space) -> None:
    await js.told_to("dial", to=join_address(first.agent, first.transport.addresses()[0]))
    found = await js.told_to("findPeer", id=wanted.id)
    assert found["id"] == wanted.id
    assert await js.told_to("dial", to=wanted.id) == wanted.id


async def ours_finds_js(one: JsPeer, other: JsPeer, first: Space, second: Space) -> None:
    """Through a member of ours, then through a js peer that is known from there."""
    protocol, transport = second.kad_protocol, second.transport
    for js in (one, other):
        found = await transport.find_node(protocol, first.agent, peer_id_bytes(js.agent))
        assert found[0] == (js.agent, js.bare_addresses())
    await both_measure_alike(one)
    transport.learn(*found[0])
    known = dict(await transport.find_node(protocol, other.agent, peer_id_bytes(one.agent)))
    assert known[one.agent] == one.bare_addresses()
    assert first.agent in known


async def both_measure_alike(js: JsPeer) -> None:
    """js-libp2p sorts whom it found as we would, too often for chance.

    It asks a peer that it is told of only if that is closer than who told it, so it may find fewer.
    """
    compared = 0
    for number in range(10):
        key = bytes([number])
        ids = [peer["id"] for peer in await js.told_to("closest", key=key.hex())]
        agents = [(agent_of_peer_id(id_), ()) for id_ in sorted(ids)]
        assert ids == [peer_id_of(agent) for agent, _ in closest_to(key, agents, len(ids))]
        compared += len(ids) > 1
    assert compared >= 5
