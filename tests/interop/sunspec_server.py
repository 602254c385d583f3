"""The independent device: registers laid out by pysunspec2, served by pymodbus on asyncio.

Argument: a device file as pysunspec2 reads it.  Prints the port that it listens on.
"""

import asyncio
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from sunspec2.file.client import FileClientDevice

BASE = 40_000


def registers(path: str) -> list[int]:
    device = FileClientDevice(path)
    device.scan()
    data = b"SunS"
    for model in device.model_list:
        model.points["L"].value = model.len - 2
        data += model.get_mb()
    data += b"\xff\xff\0\0"
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


async def main(path: str) -> None:
    device = SimDevice(
        id=1,
        simdata=[SimData(address=BASE, values=registers(path), datatype=DataType.REGISTERS)],
    )
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    print(server.transport.sockets[0].getsockname()[1], flush=True)
    await server.serving


asyncio.run(main(sys.argv[1]))
