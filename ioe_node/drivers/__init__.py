"""Drivers: how a device's own protocol becomes a `Reading`.  This is also the guide to a new one.

A driver is one file.  It reads one device, and perhaps switches it.  It knows nothing of zomes,
chains or peers, and imports only `errors`, `clock` and what stands here: so it can be written
and tested with the device's manual on the desk and nothing else of this project in mind.  The
poller asks it at its own pace, the slicer cuts its registers into intervals, the zomes do the
rest.  Invariant: energy is counted by cumulative registers, in whole milliwatt-hours, so a lost
poll, a crash or a slow link loses no energy, only detail.

This is a whole one, for a meter that sends a line like `1234.567 89.1` (kWh drawn and given) to
whoever connects; a test runs it::

    from collections.abc import Mapping
    from typing import Annotated

    import msgspec
    import trio

    from ioe_node.clock import Clock, SystemClock
    from ioe_node.drivers.decimals import quantity
    from ioe_node.drivers.driver import Reading, parse_options
    from ioe_node.errors import LocalError, TransportError


    class BrandOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        host: str
        port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 7_000


    class Brand:
        def __init__(self, options: BrandOptions, clock: Clock) -> None:
            self._options, self._clock = options, clock

        @classmethod
        def from_options(cls, options: Mapping[str, object], clock: Clock | None = None) -> "Brand":
            return cls(parse_options(options, BrandOptions, "brand"), clock or SystemClock())

        async def read(self) -> Reading:
            where = self._options
            try:
                with trio.fail_after(5):
                    async with await trio.open_tcp_stream(where.host, where.port) as stream:
                        line = await stream.receive_some(100)
            except (OSError, trio.BrokenResourceError, trio.TooSlowError) as failure:
                raise TransportError(f"brand {where.host}: no answer ({failure})") from None
            return decode_line(line, self._clock.now_us())


    def decode_line(line: bytes, now_us: int) -> Reading:
        try:
            drawn_kwh, given_kwh = (quantity(word) for word in line.decode("ascii").split())
        except ValueError:
            raise LocalError("brand: no Brand meter answers: check `host` and `port`") from None
        return Reading(now_us, int(drawn_kwh * 1_000_000), int(given_kwh * 1_000_000))

1.  The options are a frozen struct that forbids unknown fields; `parse_options` raises
    `ConfigError` that names the key; say what no type can say yourself.
2.  `read` fetches bytes, then calls a pure `decode_...(bytes)`: test that one with recorded
    answers and with hypothesis, and the fetching with an emulator.
3.  The registers are the device's own cumulative counters, import and export apart, in milli-Wh.
    Decimal text is parsed by `decimals`, never with `float`; round down.  `at_us` is when the
    registers stood so, by the device's clock if it has one, else by `clock`.  A device that tells
    only its power has no registers: do not integrate it here; that is an estimate.
4.  Errors: `TransportError` when the device is away, slow or busy: the poller tries again.
    `LocalError` when trying again cannot help (password, wrong address, not such a device):
    polling stops and the owner reads your one line, so it says what to do.
5.  Bound everything: a deadline on each exchange, a limit with a unit on what you read.
    Connect per request or keep the connection, as the device likes it; nothing needs closing.
    Cancellation may strike at any await: leave nothing half done.
6.  Abilities beyond reading are small protocols in `driver.py`, satisfied by having the method:
    `set_on` makes a `Switch`, `watch` a device that tells of its changes, and so on; there is no
    class to inherit.
7.  A driver of your own lives in your own package under the same rules.  Name it in the
    configuration by its dotted name, `package.module:Brand`, or by a short one that the package
    gives it as an entry point of the group `ioe_node.drivers`.  `ioe driver test --driver
    package.module:Brand --option host=...` reads it once.

Here: `driver` the vocabulary, `poller` and `slicer` readings to intervals, `scan` what is near;
`shelly` Shelly Gen2+; `mqtt` any device by its topics, `tasmota` those with that firmware,
`home_assistant` its discovery; `profile` real homes on an accelerated clock, `citylearn` where
they come from.  Shared: `decimals`, `http_digest`, `mqtt_connection`, `mqtt_meter`.
"""
