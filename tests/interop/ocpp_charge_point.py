"""The independent charge point: the `ocpp` package over aiohttp, a process of its own.

Arguments: URL, password or ''.  It boots, and then does what each line on its input says; what it
is told by the central system, and what that answers, it prints as JSON, one a line.  The package
holds every message in either direction to its JSON schema.
"""

import asyncio
import base64
import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
from ocpp.routing import after, on
from ocpp.v16 import ChargePoint, call, call_result


def show(what: str, **more: Any) -> None:
    print(json.dumps({"what": what, **more}), flush=True)


class Connection:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def recv(self) -> str:
        return await self._socket.receive_str()

    async def send(self, message: str) -> None:
        await self._socket.send_str(message)


class Peer(ChargePoint):
    watt_hours = 1000

    @on("TriggerMessage")
    def trigger(self, requested_message: str, connector_id: int) -> Any:
        show("trigger", message=requested_message, connector=connector_id)
        return call_result.TriggerMessage(status="Accepted")

    @after("TriggerMessage")
    async def triggered(self, **_: Any) -> None:
        await self.meter(None)

    @on("RemoteStartTransaction")
    def remote_start(self, id_tag: str, **_: Any) -> Any:
        show("remote start", id_tag=id_tag)
        return call_result.RemoteStartTransaction(status="Accepted")

    @on("RemoteStopTransaction")
    def remote_stop(self, transaction_id: int) -> Any:
        show("remote stop", transaction=transaction_id)
        return call_result.RemoteStopTransaction(status="Accepted")

    @on("SetChargingProfile")
    def set_profile(self, connector_id: int, cs_charging_profiles: Any) -> Any:
        (period,) = cs_charging_profiles["charging_schedule"]["charging_schedule_period"]
        show("profile", connector=connector_id, limit=str(period["limit"]))
        return call_result.SetChargingProfile(status="Accepted")

    @on("ClearChargingProfile")
    def clear_profile(self, **criteria: Any) -> Any:
        show("clear", criteria=criteria)
        return call_result.ClearChargingProfile(status="Unknown")

    async def meter(self, transaction_id: int | None) -> None:
        self.watt_hours += 500
        await self.call(
            call.MeterValues(
                connector_id=1,
                transaction_id=transaction_id,
                meter_value=[
                    {
                        "timestamp": datetime.now(UTC).isoformat(),
                        "sampled_value": [
                            {"value": str(self.watt_hours)},
                            {
                                "value": "7.36",
                                "measurand": "Power.Active.Import",
                                "unit": "kW",
                            },
                        ],
                    }
                ],
            )
        )

    async def obey(self, order: str, *arguments: str) -> None:
        match order:
            case "authorize":
                answer = await self.call(call.Authorize(id_tag=arguments[0]))
                show("authorized", info=answer.id_tag_info)
            case "start":
                answer = await self.call(
                    call.StartTransaction(
                        connector_id=1,
                        id_tag=arguments[0],
                        meter_start=self.watt_hours,
                        timestamp=datetime.now(UTC).isoformat(),
                    )
                )
                show("started", transaction=answer.transaction_id, info=answer.id_tag_info)
            case "stop":
                self.watt_hours += 500
                await self.call(
                    call.StopTransaction(
                        transaction_id=int(arguments[0]),
                        meter_stop=self.watt_hours,
                        timestamp=datetime.now(UTC).isoformat(),
                    )
                )
                show("stopped")
            case "status":
                await self.call(
                    call.StatusNotification(
                        connector_id=1, error_code="NoError", status=arguments[0]
                    )
                )
                show("status")
            case "flood":
                began = time.monotonic()
                for _ in range(int(arguments[0])):
                    await self.meter(None)
                show("flooded", seconds=time.monotonic() - began)


async def main(url: str, password: str) -> None:
    name = url.rpartition("/")[2]
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {token}"} if password else {}
    async with aiohttp.ClientSession() as session:
        try:
            socket = await session.ws_connect(url, protocols=["ocpp1.6"], headers=headers)
        except aiohttp.WSServerHandshakeError as refusal:
            show("refused", status=refusal.status)
            return
        async with socket:
            peer = Peer(name, Connection(socket))
            listening = asyncio.create_task(peer.start())
            boot = await peer.call(
                call.BootNotification(charge_point_model="M", charge_point_vendor="V")
            )
            show("booted", status=boot.status, protocol=socket.protocol)
            beat = await peer.call(call.Heartbeat())
            show("beat", now=beat.current_time)
            while line := await asyncio.to_thread(sys.stdin.readline):
                await peer.obey(*line.split())
            listening.cancel()


asyncio.run(main(sys.argv[1], sys.argv[2]))
