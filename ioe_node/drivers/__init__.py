"""Drivers: how a device's own protocol becomes a `Reading`.  This is also the guide to a new one.

A driver is one file.  It reads one device, and perhaps switches it.  It knows nothing of zomes,
chains or peers, and imports only `errors`, `clock` and what stands here: so it can be written
and tested with the device's manual on the desk and nothing else of this project in mind.  The
poller asks it at its own pace, the slicer cuts its registers into intervals, the zomes do the
rest.  Invariant: energy is counted by cumulative registers, in whole milliwatt-hours, so a lost
poll, a crash or a slow link loses no energy, only detail.

To write one (`brand.py`; `shelly.py` is a complete example):

1.  Describe the options as a frozen `msgspec.Struct` with `forbid_unknown_fields=True`; check
    their ranges with `msgspec.Meta`.  Build the driver from them in one classmethod::

        class BrandOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
            host: str
            unit: Annotated[int, msgspec.Meta(ge=1, le=247)] = 1

        class Brand:
            @classmethod
            def from_options(cls, options: Mapping[str, object], clock: Clock | None = None
                             ) -> "Brand":
                return cls(parse_options(options, BrandOptions, "brand"), clock or SystemClock())

    `parse_options` raises `ConfigError` that names the key; say what no type can say yourself.
2.  `async def read(self) -> Reading` fetches bytes, then calls a pure `decode_...(bytes)`:
    test that one with recorded answers and with hypothesis, and the fetching with an emulator.
3.  The registers are the device's own cumulative counters, import and export apart, in milli-Wh.
    Parse decimal text with `decimal.Decimal`, never with `float`; round down.  `at_us` is when
    the registers stood so, by the device's clock if it has one, else by `clock`.  A device that
    tells only its power has no registers: do not integrate it here; that is an estimate.
    Counters that are lost, replaced or jump are the slicer's business: hand them on as they are.
    Narrow ones, of 32 bits say, that begin again at zero: give the driver `turns_over_milli_wh`.
4.  Errors: `TransportError` when the device is away, slow or busy: the poller tries again.
    `LocalError` when trying again cannot help (password, wrong address, not such a device):
    polling stops and the owner reads your one line, so it says what to do.
5.  Bound everything: a deadline on each exchange, a limit with a unit on what you read.
    Connect per request or keep the connection, as the device likes it; nothing needs closing.
    Cancellation may strike at any await: leave nothing half done.
6.  Abilities beyond reading are small protocols in `driver.py`, satisfied by having the method
    (`async def set_on(self, on: bool) -> None` makes a `Switch`, `async def pressed(self) -> None`
    a `Button`); there is no class to inherit.
7.  Name it in the configuration by its dotted name, `ioe_node.drivers.brand:Brand`; a driver of
    your own lives in your own package under the same rules.

Here: `driver` the vocabulary, `slicer` readings to intervals (pure), `shelly` Shelly Gen2+ plugs,
`http_digest` HTTP for drivers that need it, `profile` real homes on an accelerated clock,
`citylearn` where those homes come from.

`sunspec` reads and limits solar inverters, meters and batteries over `modbus`, by the table in
`sunspec_models` (pure).  `p1` listens to a smart meter's customer port; `dsmr_telegram` and
`dsmr_cipher` (pure) cut, open and decode what it says.  `ocpp` is the central system of a charge
point: `ocpp_messages` and `ocpp_station` (pure) are the conversation.

A feed is not a driver of a device, but follows the same rules: its `periods` tell what prices or
wishes hold when.  `feed` the vocabulary, `feed_csv` a file, `feed_http` a web service through
`http_fetch`, `openadr` a utility's OpenADR 2.0b server, in the words of `openadr_messages` (pure).
"""
