"""The independent client: asyncio, a process of its own.  Prints what it saw, an object a line.

Arguments: port, password or ''.  It reads and switches; then it says what each notice has told
it, until its standard input ends.
"""

import asyncio
import json
import sys

import aiohttp
from aioshelly.common import ConnectionOptions, get_info, is_firmware_supported
from aioshelly.rpc_device import RpcDevice, RpcUpdateType

DEADLINE_S = 20


async def main(port: int, password: str) -> None:
    options = ConnectionOptions(
        "127.0.0.1", "admin" if password else None, password or None, port=port
    )
    async with aiohttp.ClientSession() as session, asyncio.timeout(DEADLINE_S):
        info = await get_info(session, "127.0.0.1", port=port)
        device = await RpcDevice.create(session, None, options)
        await device.initialize()
        notified = asyncio.Event()
        device.subscribe_updates(
            lambda _, kind: notified.set() if kind is RpcUpdateType.STATUS else None
        )
        first = dict(device.status["switch:0"])
        await device.switch_set(0, False)
        await notified.wait()
        by_notice = device.status["switch:0"]["output"]
        await device.update_status()
        print(
            json.dumps(
                {
                    "supported": is_firmware_supported(info["gen"], info["model"], info["fw_id"]),
                    "model": device.model,
                    "firmware": device.firmware_version,
                    "methods": await device.methods_list(),
                    "config_name": device.config["switch:0"]["initial_state"],
                    "first": first,
                    "output_by_notice": by_notice,
                    "last": device.status["switch:0"],
                    "unixtime": device.status["sys"]["unixtime"],
                }
            ),
            flush=True,
        )
        device.subscribe_updates(
            lambda _, kind: print(json.dumps([kind.name, device.status["switch:0"]]), flush=True)
        )
        await asyncio.to_thread(sys.stdin.read)
        await device.shutdown()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
