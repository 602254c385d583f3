"""Our device in Home Assistant: told by MQTT discovery, switched by its command topic.

One connection of its own, for the last will that says we are gone.  A broker that is away is tried
again, ever more seldom; one that refuses us too, as its users may change.  While the device cannot
be read it is shown as unavailable.
"""

import hashlib
import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import trio

from ioe_node.drivers.driver import Switch
from ioe_node.drivers.home_assistant import Ours
from ioe_node.drivers.mqtt_broker import Broker
from ioe_node.drivers.mqtt_connection import Connection, Message, open_connection
from ioe_node.drivers.poller import Poller
from ioe_node.errors import IoeError
from ioe_node.model.signing import Signer

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

log = logging.getLogger("ioe.mqtt")

LOOK_S = 1.0
TOLD_EVERY_S = 1.0
BACKOFF_MIN_S, BACKOFF_MAX_S = 2.0, 300.0
COMMANDS_MAX = 16
KEY_CHARS = 20


class HomeAssistant:
    """`state` is "starting", "ok" or "retrying", `why` says more."""

    def __init__(self, conductor: "Conductor", broker: Broker) -> None:
        self._conductor = conductor
        self._broker = broker
        self.state, self.why = "starting", "this device has no owner yet"

    def status(self) -> dict[str, Any]:
        """For the call `status`."""
        return {"broker": self._broker.name, "state": self.state, "why": self.why}

    async def run(self) -> None:
        """Tell of our device for as long as the node runs."""
        wait_s = BACKOFF_MIN_S
        while True:
            poller = self._conductor.poller
            if poller is None:
                await trio.sleep(LOOK_S)
                continue
            try:
                await self._tell_of(poller)
            except* IoeError as errors:
                error: BaseException = errors
                while isinstance(error, BaseExceptionGroup):
                    error = error.exceptions[0]
                if self.state == "ok":
                    wait_s = BACKOFF_MIN_S
                if str(error) != self.why:
                    log.warning("telling Home Assistant: %s", error)
                self.state, self.why = "retrying", str(error)
                await trio.sleep(wait_s * (0.5 + self._conductor.rng.random() / 2))
                wait_s = min(2 * wait_s, BACKOFF_MAX_S)

    async def _tell_of(self, poller: Poller) -> None:
        """Until the node lives on with another poller, or the connection breaks."""
        ours = self._ours()
        commands, given = trio.open_memory_channel[bytes](COMMANDS_MAX)

        def take(message: Message) -> None:
            # One that was kept was meant for another time.
            if message.topic == ours.command and not message.retained:
                try:
                    commands.send_nowait(message.payload)
                except trio.WouldBlock:
                    log.warning("commands come faster than the device takes them")

        async with open_connection(self._broker, take, ours.will()) as connection:
            for config in ours.configs(isinstance(poller.meter, Switch)):
                connection.publish(config)
            connection.subscribe([ours.command])
            self.state, self.why = "ok", ""
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connection.serve)
                    nursery.start_soon(_obey, given, poller)
                    await self._tell_states(connection, ours, poller)
                    nursery.cancel_scope.cancel()
            finally:
                connection.publish(ours.will())

    def _ours(self) -> Ours:
        config = self._conductor.config
        assert config.device is not None
        # The key that the device came with: it stays while the one that it acts under is renewed.
        came_with = Signer(self._conductor.keystore.secrets["enrolment"]).agent
        key = hashlib.sha256(came_with).hexdigest()[:KEY_CHARS]
        kind, name, prefix = config.device.kind, config.device.name, config.mqtt.prefix
        return Ours(key, name, kind, version("ioe-node"), prefix)

    async def _tell_states(self, connection: Connection, ours: Ours, poller: Poller) -> None:
        told: dict[str, Message] = {}
        while self._conductor.poller is poller:
            changed = poller.changed
            messages = [ours.will(online=poller.state == "ok")]
            if poller.latest is not None:
                messages.append(ours.state(poller.latest))
            for message in messages:
                if told.get(message.topic) != message:
                    connection.publish(message)
                    told[message.topic] = message
            await trio.sleep(TOLD_EVERY_S)
            with trio.move_on_after(LOOK_S):
                await changed.wait()


async def _obey(given: trio.MemoryReceiveChannel[bytes], poller: Poller) -> None:
    async for payload in given:
        on = {b"ON": True, b"OFF": False}.get(payload)
        if on is None:
            log.warning("a command that is neither ON nor OFF")
            continue
        try:
            await poller.set_on(on)
        except IoeError as error:
            log.warning("switching the device: %s", error)
        except Exception:
            log.exception("the driver failed to switch")
