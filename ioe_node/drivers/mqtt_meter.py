"""A device behind an MQTT broker: what it says is kept, and is what is read.

How a kind of device speaks is a `Speech`, which is pure; this is the connection around it.  While
the poller watches, one connection is held, and all that is read and switched goes over it; at
other times one is opened for each.  A register counts from the moment that it arrives: retained
messages, which may be of any age, tell the state of a switch but no energy.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Protocol

import trio

from ioe_node.clock import Clock
from ioe_node.drivers.driver import Reading
from ioe_node.drivers.mqtt_broker import Broker
from ioe_node.drivers.mqtt_connection import Connection, Message, open_connection
from ioe_node.errors import LocalError, TransportError

CONFIRM_DEADLINE_S = 10.0
SILENT_S = 3_600
WAIT_S = 60


@dataclass(frozen=True, slots=True)
class Told:
    """What one message says; None for what it does not speak of."""

    import_milli_wh: int | None = None
    export_milli_wh: int | None = None
    power_milli_w: int | None = None
    switched_on: bool | None = None
    online: bool | None = None


class Speech(Protocol):
    """How a device speaks."""

    @property
    def topics(self) -> tuple[str, ...]:
        """Where it does; no wildcards."""

    @property
    def questions(self) -> tuple[Message, ...]:
        """What makes it tell its counters at once; may be none."""

    @property
    def directions(self) -> tuple[bool, bool]:
        """Whether it counts (import, export)."""

    @property
    def confirms(self) -> bool:
        """Whether it says that it was switched."""

    def decode(self, message: Message) -> Told:
        """What a message says; ValueError where it makes no sense."""

    def command(self, on: bool) -> Message | None:
        """What switches it; None where nothing does."""


class MqttMeter:
    """A `Meter` and a `Switch`, which can be watched."""

    def __init__(
        self,
        name: str,
        broker: Broker,
        speech: Speech,
        clock: Clock,
        silent_s: float = SILENT_S,
        wait_s: float = WAIT_S,
    ) -> None:
        self._name = name
        self._broker = broker
        self._speech = speech
        self._clock = clock
        self._silent_s, self._wait_s = silent_s, wait_s
        self._connection: Connection | None = None
        self._turn = trio.Lock()
        self._news = trio.Event()
        self._state = Told()
        self._reading: Reading | None = None
        self._read_at_s = 0.0
        self._switches_told = 0
        self._fault = ""
        self._tell: Callable[[Reading], None] = lambda reading: None

    async def read(self) -> Reading:
        """What it answers; what it said last, or says next, where it cannot be asked.

        TransportError if it has been silent for too long.
        """
        began_s = trio.current_time()
        old_will_do = self._connection is not None and not self._speech.questions

        def new() -> bool:
            if self._state.online is False:
                raise TransportError(f"{self._name}: it is offline, as the broker says")
            oldest_s = trio.current_time() - self._silent_s if old_will_do else began_s
            return self._reading is not None and self._read_at_s >= oldest_s

        silence = f"it has said nothing of its energy for {self._wait_s:g} s"
        await self._until(new, self._ask, self._wait_s, silence)
        assert self._reading is not None
        return self._reading

    async def set_on(self, on: bool) -> None:
        """Switch the load; done when the device says so, or the broker where it never does."""
        command = self._speech.command(on)
        if command is None:
            raise LocalError(f"{self._name}: no topic is known that switches it")
        before = self._switches_told
        sent: Callable[[], bool] = lambda: False  # noqa: E731  # until it is sent

        def send() -> None:
            nonlocal sent
            assert self._connection is not None
            sent = self._connection.publish(command)

        def done() -> bool:
            if not self._speech.confirms:
                return sent()
            return self._switches_told > before and self._state.switched_on is on

        await self._until(done, send, CONFIRM_DEADLINE_S, "it did not confirm that it was switched")

    async def watch(self, tell: Callable[[Reading], None]) -> None:
        """Hold the connection and tell each reading."""
        try:
            async with self._turn:
                self._tell = tell
                await self._serve(lambda: False, self._ask)
        finally:
            self._tell = lambda reading: None

    # -- the connection -----------------------------------------------------------------------

    async def _until(
        self, done: Callable[[], bool], begin: Callable[[], None], deadline_s: float, late: str
    ) -> None:
        """Be connected, `begin`, and hear what is said until `done()`."""
        begun: Connection | None = None
        try:
            with trio.fail_after(deadline_s):
                while not done():
                    if self._connection not in (None, begun):
                        begun = self._connection
                        begin()
                    elif self._turn.locked():
                        await self._news.wait()
                    else:
                        async with self._turn:
                            await self._serve(done, begin)
        except trio.TooSlowError:
            why = f"{late}; {self._fault}" if self._fault else late
            raise TransportError(f"{self._name}: {why}") from None

    async def _serve(self, done: Callable[[], bool], begin: Callable[[], None]) -> None:
        try:
            async with open_connection(self._broker, self._take) as connection:
                self._connection = connection
                connection.on_taken = self._wake
                connection.subscribe(self._speech.topics)
                begin()
                self._wake()
                await connection.serve(done)
        finally:
            self._connection = None
            self._state = replace(self._state, online=None)
            self._wake()

    def _ask(self) -> None:
        assert self._connection is not None
        for question in self._speech.questions:
            self._connection.publish(question)

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    # -- what is said -------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        try:
            told = self._speech.decode(message)
        except ValueError as refusal:
            self._fault = f"what it said under {message.topic} {refusal}"
            return
        counted = (told.import_milli_wh, told.export_milli_wh) != (None, None)
        if counted and message.retained:
            told = replace(told, import_milli_wh=None, export_milli_wh=None)
        if told.switched_on is not None and not message.retained:
            self._switches_told += 1
        self._state = _changed(self._state, told)
        imports, exports = self._speech.directions
        state = self._state
        complete = (state.import_milli_wh is not None or not imports) and (
            state.export_milli_wh is not None or not exports
        )
        if complete and told != Told():
            self._keep(counted and not message.retained)
        self._wake()

    def _keep(self, counted: bool) -> None:
        """Make a reading: new registers at this instant, or a new state over the last ones."""
        state, last = self._state, self._reading
        if counted:
            self._read_at_s = trio.current_time()
        elif last is None:
            return
        self._reading = Reading(
            at_us=self._clock.now_us() if counted or last is None else last.at_us,
            import_milli_wh=state.import_milli_wh or 0,
            export_milli_wh=state.export_milli_wh or 0,
            power_milli_w=state.power_milli_w,
            switched_on=state.switched_on,
        )
        self._tell(self._reading)


def _changed(state: Told, told: Told) -> Told:
    """`state` with what was told over it."""
    news = {key: value for key, value in asdict(told).items() if value is not None}
    return replace(state, **news)
