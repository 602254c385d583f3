"""A device that waits: its code and its lock over restarts, its button, the way out of a lock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from discovery.pairing import CONFIRM_S, PAIRING_LOCK_S, PAIRING_SESSION_S
from ioe_node.conductor.home import Home
from ioe_node.conductor.unowned import GUESSES_EVERY_S
from ioe_node.errors import CallError, LocalError, PairingRefused, StoreError
from tests.conductor.steps import deed, owns

CODE, WRONG = "1234-5678", "1111-2222"


async def guess(owner: Any, times: int) -> None:
    for _ in range(times):
        with pytest.raises(PairingRefused, match="code is wrong"):
            await owner.call("device_claim", device="roof", code=WRONG)


async def told_of(node: Any, kind: str) -> list[Any]:
    return [each for each in await node.call("alerts") if each["kind"] == kind]


async def restart(roof: Any, change: tuple[str, str] = ("", "")) -> None:
    await roof.stop()
    roof.text = roof.text.replace(*change)
    await roof.start()


WITH_BUTTON = ("poll_ms", 'confirm = "button"\npoll_ms')
WITHOUT_CODE = (f'code = "{CODE}"', "")


async def test_guesses_are_told_on_the_device_and_to_whoever_claims_it(
    near: Any, autojump: Any
) -> None:
    owner, roof = await near()
    await guess(owner, 3)
    assert not await told_of(roof, "guesses"), "the third one is not judged while it may go on"
    await trio.sleep(PAIRING_SESSION_S + GUESSES_EVERY_S)
    (told,) = await told_of(roof, "guesses")
    assert told["text"] == "a stranger keeps trying codes: 3 attempts to pair have failed"
    made = await owner.call("device_claim", device="roof", code=CODE)
    assert made["failed"] == 3
    (told,) = await told_of(owner, "guesses")
    assert told["text"] == "3 attempts to pair with 'roof' had failed before we claimed it"


async def test_a_claim_after_one_slip_is_no_alarm(near: Any, autojump: Any) -> None:
    owner, roof = await near()
    await guess(owner, 1)
    made = await owner.call("device_claim", device="roof", code=CODE)
    assert made["failed"] == 1
    for node in (owner, roof):
        assert not await told_of(node, "guesses")


async def test_a_lock_survives_a_restart(near: Any, autojump: Any) -> None:
    owner, roof = await near()
    await guess(owner, 5)
    await trio.sleep(PAIRING_LOCK_S - 1)
    await restart(roof)
    for _ in range(2):
        with pytest.raises(PairingRefused, match="5 pairing attempts have failed; try again in"):
            await owner.call("device_claim", device="roof", code=CODE)
        await trio.sleep(2)
    assert (await roof.call("device_code"))["locked_s"] == PAIRING_LOCK_S - 4
    await trio.sleep(PAIRING_LOCK_S)
    await owner.call("device_claim", device="roof", code=CODE)


async def test_an_attempt_that_cannot_be_counted_is_not_answered(
    near: Any, autojump: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a full disk and a switch would give as many guesses as one likes."""
    owner, roof = await near()
    write = Home.write

    def full(self: Home, path: Any, data: bytes) -> None:
        if path.name == "pairing.json":
            raise StoreError("no space")
        write(self, path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Home, "write", full)
        with pytest.raises(PairingRefused, match="cannot count attempts: no space"):
            await owner.call("device_claim", device="roof", code=CODE)
    await owner.call("device_claim", device="roof", code=CODE)
    await roof.until(lambda found: found["role"] == "device")


async def test_a_damaged_count_is_a_lock(near: Any, autojump: Any) -> None:
    _, roof = await near()
    await roof.stop()
    (roof.home.path / "pairing.json").write_bytes(b"{")
    await roof.start()
    assert (await roof.call("device_code"))["locked_s"] == PAIRING_LOCK_S


async def test_a_code_of_its_own_stays_over_a_restart_and_is_another_elsewhere(
    near: Any, autojump: Any, street: Any
) -> None:
    _, roof = await near()
    await restart(roof, WITHOUT_CODE)
    before = await roof.call("device_code")
    await restart(roof)
    assert await roof.call("device_code") == before
    assert before["code"] == CODE, "it was this device's before"
    other = await street.device("cellar")
    await other.stop()
    (other.home.path / "pairing.json").write_bytes((roof.home.path / "pairing.json").read_bytes())
    other.text = other.text.replace(*WITHOUT_CODE)
    await other.start()
    assert (await other.call("device_code"))["code"] != CODE, "a copied file is not its own"


async def test_the_line_of_the_qr_code_claims_this_device_among_two_of_its_name(
    near: Any, autojump: Any, street: Any
) -> None:
    owner, _ = await near()
    twin = await street.device(folder="twin")
    await owner.until(lambda found: len(found["near"]) == 2, "device_list")
    uri = (await twin.call("device_code"))["uri"]
    await owner.call("device_claim", device=uri)
    await twin.until(lambda found: found["role"] == "device")
    for wrong in ("roof", uri[:-1], uri.replace("uhCAk", "uhCEk")):
        with pytest.raises(LocalError, match="scan it again"):
            await owner.call("device_claim", device=wrong)


async def test_the_button_is_asked_after_the_code_and_says_whom_it_lets_in(
    near: Any, autojump: Any, nursery: trio.Nursery
) -> None:
    owner, roof = await near()
    await restart(roof, WITH_BUTTON)
    with pytest.raises(CallError, match="nobody has proved the code"):
        await roof.call("device_confirm")

    async def claim() -> None:
        await owner.call("device_claim", device="roof", code=CODE)

    nursery.start_soon(claim)
    await roof.until(lambda found: found["proven"], "device_code")
    await trio.sleep(CONFIRM_S / 2)
    assert roof.conductor.role == "unowned"
    assert "device" not in roof.conductor.keystore.secrets
    (told,) = await told_of(roof, "confirm")
    assert told["facts"]["owner"] in told["text"]
    (told,) = await told_of(owner, "confirm")
    assert "press the button" in told["text"]
    assert await roof.call("device_confirm") == {"owner": owner.agent}
    await roof.until(lambda found: found["role"] == "device")
    await owner.until(lambda found: found["owned"], "device_list")
    (told,) = await told_of(roof, "owned")


async def test_a_button_that_nobody_presses_leaves_nothing(near: Any, autojump: Any) -> None:
    owner, roof = await near()
    await restart(roof, WITH_BUTTON)
    with pytest.raises(PairingRefused, match=f"nobody pressed the button .* {CONFIRM_S} s"):
        await owner.call("device_claim", device="roof", code=CODE)
    assert owner.home.state().pending == ()
    assert roof.conductor.role == "unowned"


async def test_nobody_takes_the_place_of_an_owner_who_waits_for_the_button(
    near: Any, autojump: Any, street: Any, nursery: trio.Nursery
) -> None:
    owner, roof = await near()
    await restart(roof, WITH_BUTTON)
    other = await street.owner("other", b"o" * 32)
    await other.call("community_create", name="elsewhere", amend={})
    roof.text = roof.text.replace("bootstrap = [", f'bootstrap = ["{street._bootstrap[1]}", ')
    await restart(roof)
    await other.until(lambda found: other.conductor.meeting.cards())
    nursery.start_soon(lambda: owner.call("device_claim", device="roof", code=CODE))
    await roof.until(lambda found: found["proven"], "device_code")
    with pytest.raises(PairingRefused, match="someone else is pairing"):
        await other.call("device_claim", device="roof", code=WRONG)
    assert await roof.call("device_confirm") == {"owner": owner.agent}


async def test_the_devices_own_command_opens_a_locked_one_once(near: Any, autojump: Any) -> None:
    owner, roof = await near()
    await guess(owner, 5)
    with pytest.raises(PairingRefused, match="ioe device unlock"):
        await owner.call("device_claim", device="roof", code=CODE)
    await roof.call("device_unlock", owner=roof.agent)
    with pytest.raises(PairingRefused, match="ioe device unlock"):
        await owner.call("device_claim", device="roof", code=CODE)
    await roof.call("device_unlock", owner=owner.agent)
    await owner.call("device_claim", device="roof", code=CODE)


async def test_a_drivers_button_opens_a_locked_device_and_then_confirms(
    near: Any, autojump: Any, nursery: trio.Nursery
) -> None:
    from button_meter import PRESSES

    owner, roof = await near(driver="button_meter:Pressable")
    await restart(roof, WITH_BUTTON)
    await guess(owner, 5)
    PRESSES.send_nowait(None)
    await trio.sleep(0.1)
    nursery.start_soon(lambda: owner.call("device_claim", device="roof", code=CODE))
    await roof.until(lambda found: found["proven"], "device_code")
    PRESSES.send_nowait(None)
    await roof.until(lambda found: found["role"] == "device")


async def test_a_node_that_waits_for_nobody_says_so(near: Any, autojump: Any) -> None:
    owner, roof = await near()
    for call in ("device_code", "device_confirm", "device_unlock"):
        with pytest.raises(CallError, match="waits for no owner"):
            await owner.call(call)
    await owner.call("device_claim", device="roof", code=CODE)
    await roof.until(lambda found: found["role"] == "device")
    with pytest.raises(CallError, match="waits for no owner"):
        await roof.call("device_code")


async def test_between_two_lives_nothing_is_answered_from_the_old_one(
    near: Any, autojump: Any
) -> None:
    owner, roof = await near()
    await owner.call("device_claim", device="roof", code=CODE)
    await owns(owner, "roof")
    open_transport = roof.conductor.open_transport

    @asynccontextmanager
    async def slowly(*how: Any) -> AsyncIterator[Any]:
        await trio.sleep(1)
        async with open_transport(*how) as transport:
            yield transport

    roof.conductor.open_transport = slowly
    await deed(owner, "release", device=roof.agent)
    while roof.conductor.role == "device":  # noqa: ASYNC110  # what is awaited rings no bell
        await trio.sleep(0.01)
    await roof.conductor.alive()
    assert (await roof.call("device_code"))["locked_s"] == 0
