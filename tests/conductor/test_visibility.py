"""A private device: hidden from its neighbours, seen by its owner and by its community."""

from typing import Any

import trio

from discovery.hidden import is_hidden
from discovery.meeting import BOOTSTRAP_WAIT_MAX_S
from ioe_node.conductor import visibility


def names(found: Any) -> list[str]:
    return [each["name"] for each in found["near"]]


async def test_only_its_owner_sees_a_private_device(
    claimed: Any, street: Any, autojump: Any
) -> None:
    """I-029.  Before it is claimed everyone does, or nobody could claim it."""
    owner, roof = await claimed(visibility="private")
    assert roof.conductor.role == "device"
    other = await street.owner("other", b"o" * 32)
    await owner.until(lambda found: names(found) == ["roof"], "device_list")
    (card,) = [each for each in owner.conductor.meeting.cards() if each.kind != "owner"]
    assert (card.agent, card.state) == (roof.agent, "owned")
    await other.until(lambda found: other.conductor.meeting.cards(), "status")
    assert names(await other.call("device_list")) == []
    assert is_hidden(roof.conductor.meeting._told())
    (community,) = (await owner.call("status"))["communities"]
    assert roof.agent in community["peers"], "its community knows it"


async def test_an_owner_who_starts_again_recognises_its_devices(
    claimed: Any, autojump: Any
) -> None:
    owner, _ = await claimed(visibility="private")
    await owner.stop()
    await owner.start()
    await trio.sleep(BOOTSTRAP_WAIT_MAX_S)
    await owner.until(lambda found: names(found) == ["roof"], "device_list")


async def test_a_device_without_an_owner_hides_nothing(street: Any, autojump: Any) -> None:
    roof = (await street.device(visibility="private")).conductor
    assert visibility.hiding_key(roof) is None
    assert visibility.listen(roof) == roof.config.network.listen


async def test_a_private_device_listens_on_a_port_that_nobody_knew(
    claimed: Any, autojump: Any
) -> None:
    owner, roof = await claimed(visibility="private")
    text = roof.text.replace(
        "[network]",
        '[network]\nlisten = ["/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/4002",'
        ' "/ip4/127.0.0.1/tcp/4003/ws"]',
    )
    for shown, ports in (("private", ["0", "0/ws"]), ("public", ["4001", "4002", "4003/ws"])):
        await roof.stop()
        roof.text = text.replace("private", shown)
        await roof.start()
        assert visibility.listen(roof.conductor) == tuple(
            f"/ip4/127.0.0.1/tcp/{port}" for port in ports
        )
    assert visibility.hiding_key(owner.conductor) is None
