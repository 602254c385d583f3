"""The independent VTN: openleadr's server, a process of its own; it checks each of our messages
against the schema of OpenADR 2.0b.

Prints its port, and then what it heard as JSON, one a line.  A line on its input adds an event:
signal, type, start, and for each interval its seconds and its value, as `900=2.5`.  `forget` makes
it not know us any more.
"""

import asyncio
import json
import logging
import socket
import sys
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

from openleadr import OpenADRServer

KNOWN = {"registered": False}


def show(what: str, **more: Any) -> None:
    print(json.dumps({"what": what, **more}), flush=True)


async def register(payload: dict[str, Any]) -> Any:
    if payload["ven_name"] != "home":
        return False
    KNOWN["registered"] = True
    show("registered", pull=payload["http_pull_model"])
    return "ven-7", "registration-1"


async def look_up(ven_id: str) -> Any:
    known = ven_id == "ven-7" and KNOWN["registered"]
    return {"ven_id": ven_id, "registration_id": "registration-1"} if known else None


async def answered(ven_id: str, event_id: str, opt_type: str) -> None:
    show("answered", ven=ven_id, event=event_id, opt=opt_type)


def add(server: OpenADRServer, event: str, name: str, kind: str, start: str, *rest: str) -> None:
    at, intervals = datetime.fromisoformat(start), []
    for each in rest:
        seconds, _, value = each.partition("=")
        length = timedelta(seconds=int(seconds))
        intervals.append({"dtstart": at, "duration": length, "signal_payload": float(value)})
        at += length
    server.add_event(
        ven_id="ven-7",
        event_id=event,
        signal_name=name,
        signal_type=kind,
        intervals=intervals,
        callback=answered,
    )


async def main() -> None:
    logging.disable(logging.CRITICAL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = OpenADRServer("vtn", http_port=port, ven_lookup=look_up)
    server.add_handler("on_create_party_registration", register)
    with redirect_stdout(StringIO()):  # its banner
        await server.run()
    print(port, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        order, *words = line.split()
        if order == "forget":
            KNOWN["registered"] = False
        elif order == "cancel":
            server.cancel_event("ven-7", words[0])
        else:
            add(server, *words)
        show("done")


asyncio.run(main())
