"""mDNS over real multicast on loopback, between two instances and between two processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from zeroconf import DNSOutgoing
from zeroconf._dns import DNSPointer
from zeroconf.const import _CLASS_IN, _FLAGS_AA, _FLAGS_QR_RESPONSE, _TYPE_PTR

from discovery import mdns as subject
from discovery.announcement import Announcement, seal
from discovery.hidden import NONCE_BYTES, hide
from discovery.mdns import Departed, Found, Mdns, MdnsUnavailable
from discovery.mdns_services import SERVICE_TYPE, Libp2pPeer, hidden_service, open_service
from ioe_node.clock import SystemClock
from ioe_node.errors import TransportError
from ioe_node.model.signing import Signer

ROOT = Path(__file__).parents[2]
LOOPBACK = ["127.0.0.1"]
PATIENCE_S = 15
LOOP_LAG_S_MAX = 0.4
"""Less than one `update` waits on zeroconf, more than a busy machine does."""
CLOCK = SystemClock()

needs_multicast = pytest.mark.skipif(
    not subject._multicast_works(LOOPBACK[0]), reason="this machine's loopback has no multicast"
)

NEIGHBOUR = """
import sys, trio
from discovery.announcement import seal
from discovery.mdns import Mdns
from ioe_node.clock import SystemClock
from ioe_node.model.signing import Signer

async def main():
    clock = SystemClock()
    async with Mdns(["127.0.0.1"], clock) as mdns:
        await mdns.update(seal(
            Signer(bytes.fromhex(sys.argv[1])), kind="generator", state="owned", name="roof",
            addresses=("/ip4/127.0.0.1/tcp/4002",), now_us=clock.now_us(),
        ))
        await trio.to_thread.run_sync(sys.stdin.readline)

trio.run(main)
"""


def card(signer: Signer, name: str) -> Announcement:
    return seal(
        signer,
        kind="storage",
        state="unowned",
        name=name,
        addresses=("/ip4/127.0.0.1/tcp/4001",),
        now_us=CLOCK.now_us(),
    )


@pytest.fixture
def signers() -> Iterator[Signer]:
    """Keys that no run before this one has left in anybody's cache."""
    return (Signer(time.time_ns().to_bytes(31, "big") + bytes([place])) for place in range(9))


async def heard(mdns: Mdns, wanted: Found) -> None:
    """Wait until `wanted` is found; other runs on this machine may be heard as well."""
    with trio.fail_after(PATIENCE_S):
        async for item in mdns.found:
            if item == wanted:
                return


async def all_until(mdns: Mdns, last: Announcement) -> list[object]:
    """All that is found before `last`."""
    found: list[object] = []
    with trio.fail_after(PATIENCE_S):
        async for item in mdns.found:
            if item == last:
                return found
            found.append(item)
    return found


@needs_multicast
async def test_tell_change_rename_and_leave(signers: Iterator[Signer]) -> None:
    """I-023, I-025, I-026: a device is seen to come, to change and to go."""
    enrolment, agent = next(signers), next(signers)
    async with Mdns(LOOPBACK, CLOCK) as ear:
        async with Mdns(LOOPBACK, CLOCK) as mouth:
            first = card(enrolment, "plug")
            await mouth.update(first)
            await heard(ear, first)
            changed = card(enrolment, "plug, again")
            await mouth.update(changed)
            await heard(ear, changed)
            owned = card(agent, "kitchen plug")
            await mouth.update(owned)
            await heard(ear, owned)
            await heard(ear, Departed(enrolment.agent))
            overheard = mouth.found
        await heard(ear, Departed(agent.agent))
    own = (first, changed, owned, Departed(enrolment.agent), Departed(agent.agent))
    assert [item async for item in overheard if item in own] == []


@needs_multicast
async def test_libp2p_nodes_hear_of_a_public_card_and_of_no_hidden_one(
    signers: Iterator[Signer],
) -> None:
    signer, other, key = next(signers), next(signers), b"k" * 32
    public, mine, at_last = card(signer, "plug"), card(signer, "plug, hidden"), card(other, "end")
    async with (
        Mdns(LOOPBACK, CLOCK, lambda: [key]) as owner,
        Mdns(LOOPBACK, CLOCK) as ear,
        Mdns(LOOPBACK, CLOCK) as mouth,
    ):
        await mouth.update(public)
        await heard(ear, Libp2pPeer(signer.agent, public.addresses))
        for place in range(2):
            hidden = hide(mine.encoded(), key, bytes([place]) * NONCE_BYTES)
            await mouth.update(hidden)
            await heard(owner, mine)
        await heard(ear, Departed(signer.agent))
        assert mouth._told.keys() == {hidden_service(hidden).name}
        await mouth.update(at_last)
        before = await all_until(ear, at_last)
        assert mine not in before
        assert ear.malformed == 0
        await heard(owner, Departed(signer.agent))


@needs_multicast
async def test_one_that_hides_has_not_left_when_it_changes_its_name(
    signers: Iterator[Signer],
) -> None:
    signer, other, key = next(signers), next(signers), b"k" * 32
    cards = [card(signer, f"hidden {place}") for place in range(3)]
    async with Mdns(LOOPBACK, CLOCK, lambda: [key]) as owner, Mdns(LOOPBACK, CLOCK) as mouth:
        for place, each in enumerate(cards):
            await mouth.update(hide(each.encoded(), key, bytes([place + 9]) * NONCE_BYTES))
        async with Mdns(LOOPBACK, CLOCK) as last:
            end = card(other, "end")
            await last.update(end)
            before = await all_until(owner, end)
    assert set(cards) <= set(before)
    assert Departed(signer.agent) not in before


@needs_multicast
async def test_a_latecomer_hears_who_is_there(signers: Iterator[Signer]) -> None:
    there = card(next(signers), "early")
    async with Mdns(LOOPBACK, CLOCK) as mouth:
        await mouth.update(there)
        async with Mdns(LOOPBACK, CLOCK) as ear:
            await heard(ear, there)


@needs_multicast
async def test_two_processes_hear_each_other(signers: Iterator[Signer]) -> None:
    neighbour = next(signers)
    command = [sys.executable, "-c", NEIGHBOUR, neighbour.seed.hex()]
    async with Mdns(LOOPBACK, CLOCK) as ear, trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, command, stdin=subprocess.PIPE, cwd=ROOT)
        )
        with trio.fail_after(PATIENCE_S):
            async for item in ear.found:
                if isinstance(item, Announcement) and item.agent == neighbour.agent:
                    assert (item.name, item.kind) == ("roof", "generator")
                    break
        await process.stdin.send_all(b"\n")
        await heard(ear, Departed(neighbour.agent))


@needs_multicast
async def test_the_trio_loop_never_stalls(signers: Iterator[Signer]) -> None:
    lags = [0.0]

    async def measure() -> None:
        while True:
            before = trio.current_time()
            await trio.sleep(0.005)
            lags.append(trio.current_time() - before - 0.005)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure)
        async with Mdns(LOOPBACK, CLOCK) as mdns:
            for turn in range(2):
                await mdns.update(card(next(signers), f"turn {turn}"))
        nursery.cancel_scope.cancel()
    assert max(lags) < LOOP_LAG_S_MAX


@needs_multicast
async def test_a_record_that_is_no_announcement_is_counted(
    signers: Iterator[Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    junk, good = card(next(signers), "junk"), card(next(signers), "good")
    with monkeypatch.context() as patched:
        patched.setattr(Announcement, "encoded", lambda self: b"no announcement")
        forged = open_service(junk)
    async with Mdns(LOOPBACK, CLOCK) as ear, Mdns(LOOPBACK, CLOCK) as mouth:
        await trio.to_thread.run_sync(
            lambda: mouth._zeroconf.register_service(forged, cooperating_responders=True)
        )
        await mouth.update(good)
        await heard(ear, good)
        assert ear.malformed >= 1


@needs_multicast
async def test_a_flood_of_names_without_a_card_delays_nobody(signers: Iterator[Signer]) -> None:
    good = card(next(signers), "good")
    flood = DNSOutgoing(_FLAGS_QR_RESPONSE | _FLAGS_AA)
    for _ in range(40):
        name = f"{os.urandom(8).hex()}.{SERVICE_TYPE}"
        flood.add_answer_at_time(DNSPointer(SERVICE_TYPE, _TYPE_PTR, _CLASS_IN, 60, name), 0)
    async with Mdns(LOOPBACK, CLOCK) as ear, Mdns(LOOPBACK, CLOCK) as mouth:
        mouth._zeroconf.send(flood)
        await trio.sleep(0.1)
        with trio.fail_after(5):
            await mouth.update(good)
            await heard(ear, good)


async def test_a_slow_reader_loses_the_oldest(
    signers: Iterator[Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "FOUND_MAX", 2)
    mdns = Mdns(LOOPBACK, CLOCK)
    cards = [card(next(signers), f"plug {place}") for place in range(5)]
    for each in cards:
        mdns.deliver(each)
    assert mdns.dropped == 3
    assert [mdns.found.receive_nowait() for _ in range(2)] == cards[3:]
    mdns.found.close()
    mdns.deliver(cards[0])


@pytest.mark.parametrize("interfaces", [[], ["192.0.2.254"], ["not an address"], ["::1"]])
async def test_no_multicast_is_a_soft_error_that_says_what_to_do(interfaces: list[str]) -> None:
    with pytest.raises(MdnsUnavailable, match="add bootstrap addresses") as caught:
        async with Mdns(interfaces, CLOCK):
            pass
    assert isinstance(caught.value, TransportError)


@needs_multicast
async def test_a_dead_interface_beside_a_live_one_is_left_out(signers: Iterator[Signer]) -> None:
    there = card(next(signers), "plug")
    async with Mdns(["192.0.2.254", *LOOPBACK], CLOCK) as ear, Mdns(LOOPBACK, CLOCK) as mouth:
        await mouth.update(there)
        await heard(ear, there)


@needs_multicast
async def test_a_cancelled_node_closes_behind_itself(signers: Iterator[Signer]) -> None:
    there = card(next(signers), "plug")
    async with Mdns(LOOPBACK, CLOCK) as ear:
        with trio.CancelScope() as scope:
            async with Mdns(LOOPBACK, CLOCK) as mouth:
                await mouth.update(there)
                await heard(ear, there)
                scope.cancel()
                await trio.sleep_forever()
        await heard(ear, Departed(there.agent))
