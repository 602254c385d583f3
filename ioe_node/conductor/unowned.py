"""A device that waits for its owner: its code, its count of attempts, its button.

Code and count are in one small file, so that a restart neither changes what a sticker says nor
forgives a guess.  They belong to the enrolment key: a device that is given away has another one,
and begins anew.
"""

import logging
import os
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from ioe_node.conductor import keytree
from ioe_node.config import Device
from ioe_node.drivers.driver import Button
from ioe_node.errors import CallError, IoeError, LocalError, PairingRefused, StoreError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import AGENT, check_hash, to_text
from ioe_node.plugins import load, load_driver

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.pairing")

FAILED_TOLD = 3
GUESSES_EVERY_S = 10.0
BUTTON_RETRY_S = 5.0
DAMAGED_ATTEMPTS = 5
"""What is counted when the file is unreadable: a damaged disk is no way round the lock."""


class Kept(msgspec.Struct, frozen=True):
    """`pairing.json`."""

    device: bytes
    code: str
    attempts: int


def now_us() -> int:
    """A clock that nobody can set, for locks; it stands in no relation to the wall's."""
    return round(trio.current_time() * 1_000_000)


class Unowned:
    """One wait for an owner; `machine` is the pairing's state machine."""

    def __init__(self, conductor: "Conductor", device: Device) -> None:
        self._conductor = conductor
        self._path = conductor.home.path / "pairing.json"
        self._agent = conductor.signer().agent
        self._config = device
        kept = self._read()
        state = conductor.home.state()
        # Whoever had the machine before knows the code that it came with.
        came_with = "" if state.used else device.code
        self.code = came_with or kept.code or load("discovery.pairing_code:new_code")(os.urandom)
        self._counted = kept.attempts
        self._shown: AgentPubKey | None = None
        self._told = _next_told(kept.attempts)
        self.machine = load("discovery.pairing:PairingDevice")(
            self.code,
            self._agent,
            device.kind,
            keytree.device_agent,
            os.urandom,
            confirm=device.confirm == "button",
            attempts=kept.attempts,
            now_us=now_us(),
            buyer=state.buyer and AgentPubKey(state.buyer),
        )
        self._write()

    def _read(self) -> Kept:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return Kept(self._agent, "", 0)
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s cannot be read: %s", self._path, error)
            return Kept(self._agent, "", DAMAGED_ATTEMPTS)
        return kept if kept.device == self._agent else Kept(self._agent, "", 0)

    def _write(self) -> None:
        kept = Kept(self._agent, self.code, self._counted)
        self._conductor.home.write(self._path, msgspec.json.encode(kept))

    def heard(self, owner: AgentPubKey) -> None:
        """Count on disk what `owner` has just spent, and tell what is to be told.

        Raises `PairingRefused` when it cannot be counted: then nothing is answered.
        """
        machine, now = self.machine, now_us()
        if machine.attempts > self._counted:
            self._counted = machine.attempts
            log.warning("attempt %d to pair, by %s", machine.attempts, to_text(owner))
            try:
                self._write()
            except StoreError as error:
                raise PairingRefused(f"the device cannot count attempts: {error}") from error
        self._tell_guesses()
        proven = machine.proven(now)
        if proven is not None and proven != self._shown:
            seconds: int = load("discovery.pairing:CONFIRM_S")
            self._conductor.alert({"kind": "confirm", "owner": proven, "seconds": seconds})
        self._shown = proven

    def _tell_guesses(self) -> None:
        failed = self.machine.failed(now_us())
        if failed >= self._told:
            self._told = _next_told(failed)
            self._conductor.alert({"kind": "guesses", "failed": failed})

    async def watch_guesses(self) -> None:
        """Tell of attempts that nothing follows: one has failed when its time is over."""
        while True:
            await trio.sleep(GUESSES_EVERY_S)
            self._tell_guesses()

    def press(self) -> AgentPubKey | None:
        """The button: let the owner in who has proved the code (and return the key), or else let
        one session in, whatever was guessed before.
        """
        owner: AgentPubKey | None = self.machine.confirm(now_us())
        if owner is None:
            self.machine.open_once(now_us())
        return owner

    async def watch_button(self) -> None:
        """Have the driver's button pressed, if it has one; until cancelled."""
        driver = load_driver(self._config.driver).from_options(self._config.options)
        if not isinstance(driver, Button):
            return
        while True:
            try:
                await driver.pressed()
                self.press()
            except LocalError as error:
                log.error("the button is not watched any more: %s", error)
                return
            except IoeError as error:
                log.info("the button: %s", error)
                await trio.sleep(BUTTON_RETRY_S)
            except Exception:
                log.exception("the driver's button failed")
                await trio.sleep(BUTTON_RETRY_S)


def _next_told(failed: int) -> int:
    """At how many failed attempts it is told next: 3, 6, 12 and so on."""
    told = FAILED_TOLD
    while told <= failed:
        told *= 2
    return told


def _waiting(conductor: "Conductor") -> Unowned:
    if conductor.unowned is None:
        raise CallError("this node waits for no owner; only a device without one pairs")
    return conductor.unowned


async def device_code(conductor: "Conductor") -> dict[str, Any]:
    """The code of this device, and the line that its QR code holds."""
    unowned = _waiting(conductor)
    uri = load("discovery.pairing_code:pairing_uri")(conductor.signer().agent, unowned.code)
    return {
        "code": unowned.code,
        "uri": uri,
        "failed": unowned.machine.failed(now_us()),
        "locked_s": unowned.machine.locked_s(now_us()),
        "proven": unowned.machine.proven(now_us()),
    }


async def device_confirm(conductor: "Conductor") -> dict[str, Any]:
    """Let the owner in who has proved the code."""
    owner = _waiting(conductor).machine.confirm(now_us())
    if owner is None:
        raise CallError("nobody has proved the code of this device; claim it first")
    return {"owner": owner}


async def device_unlock(conductor: "Conductor", owner: bytes | None = None) -> dict[str, Any]:
    """Let one session in, of `owner` or of whoever comes first."""
    unowned = _waiting(conductor)
    if owner is not None:
        check_hash(owner, AGENT)
    unowned.machine.open_once(now_us(), None if owner is None else AgentPubKey(owner))
    return {"seconds": load("discovery.pairing:OPEN_S")}
