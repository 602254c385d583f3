"""What a central system knows of one charge point, and answers to what it says (pure).

Transactions are numbered by the clock, so that no two of them meet, even over a restart.  A
charge point that was offline sends old meter values late: only what is newer than all before it
becomes a reading.  A clock that is ahead of ours is not believed: `currentTime`, which each
heartbeat brings, sets it right.
"""

from collections.abc import Callable

from ioe_node.drivers.driver import Reading
from ioe_node.drivers.ocpp_messages import (
    Authorize,
    Boot,
    MeterValues,
    Payload,
    Sample,
    StartTransaction,
    StatusNotification,
    StopTransaction,
    Violation,
    decode_meter_value,
    decode_payload,
    time_text,
    time_us,
)

HEARTBEAT_S = 60
REMOTE_ID_TAG = "ioe-node"
IDLE = ("Available", "Finishing", "Unavailable", "Reserved")


class Station:
    """One connector's registers and transaction; `tell` is given each new reading."""

    def __init__(
        self, connector_id: int, id_tags: frozenset[str] | None, tell: Callable[[Reading], None]
    ) -> None:
        self.connector_id = connector_id
        self.transaction_id: int | None = None
        self.latest: Reading | None = None
        self._id_tags = id_tags
        self._tell = tell
        self._last_id = 0

    def answer(self, action: str, payload: bytes, now_us: int) -> Payload:
        """The result of its call; `Violation` where it cannot be answered."""
        match action:
            case "BootNotification":
                decode_payload(payload, Boot)
                now = time_text(now_us)
                return {"status": "Accepted", "currentTime": now, "interval": HEARTBEAT_S}
            case "Heartbeat":
                return {"currentTime": time_text(now_us)}
            case "Authorize":
                return self._info(decode_payload(payload, Authorize).id_tag)
            case "StatusNotification":
                return self._status(decode_payload(payload, StatusNotification))
            case "StartTransaction":
                return self._start(decode_payload(payload, StartTransaction), now_us)
            case "StopTransaction":
                return self._stop(decode_payload(payload, StopTransaction), now_us)
            case "MeterValues":
                return self._meter(decode_payload(payload, MeterValues), now_us)
            case "DataTransfer":
                return {"status": "UnknownVendorId"}
            case "FirmwareStatusNotification" | "DiagnosticsStatusNotification":
                return {}
        raise Violation("NotImplemented", f"{action!r} is unknown here")

    def _info(self, id_tag: str) -> Payload:
        known = self._id_tags is None or id_tag in self._id_tags or id_tag == REMOTE_ID_TAG
        return {"idTagInfo": {"status": "Accepted" if known else "Invalid"}}

    def _status(self, told: StatusNotification) -> Payload:
        if told.connector_id == self.connector_id and told.status in IDLE:
            self.transaction_id = None
        return {}

    def _start(self, told: StartTransaction, now_us: int) -> Payload:
        self._last_id = max(self._last_id + 1, now_us // 1_000_000) % 2**31
        if told.connector_id == self.connector_id:
            self.transaction_id = self._last_id
            self._register(told.meter_start, told.timestamp, now_us)
        return {"transactionId": self._last_id, **self._info(told.id_tag)}

    def _stop(self, told: StopTransaction, now_us: int) -> Payload:
        if told.transaction_id == self.transaction_id:
            self.transaction_id = None
            self._register(told.meter_stop, told.timestamp, now_us)
        return {}

    def _register(self, watt_hours: int, timestamp: str, now_us: int) -> None:
        sample = Sample(time_us(timestamp), watt_hours * 1000, None, None, None)
        self._take(sample, now_us)

    def _meter(self, told: MeterValues, now_us: int) -> Payload:
        if told.connector_id == self.connector_id:
            if told.transaction_id is not None:  # it began before we were started
                self.transaction_id = told.transaction_id
            for value in told.meter_value:
                self._take(decode_meter_value(value), now_us)
        return {}

    def _take(self, sample: Sample, now_us: int) -> None:
        at_us = min(sample.at_us, now_us)
        latest = self.latest
        if sample.imported is None or sample.imported < 0 or at_us < 0:
            return
        if latest is not None and at_us <= latest.at_us:
            return
        exported = sample.exported
        if exported is None or exported < 0:
            exported = 0 if latest is None else latest.export_milli_wh
        power = None if sample.drawn is None else sample.drawn - (sample.given or 0)
        on = self.transaction_id is not None
        self.latest = Reading(at_us, sample.imported, exported, power, on)
        self._tell(self.latest)
