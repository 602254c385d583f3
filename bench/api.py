"""The conductor's doors: signed zome calls a second, one after another and many at once.

One node and one client on the same two cores; each call does nothing (`sim.load_dna`'s echo) but
is signed, checked, authorised and answered like any other.  The peer figure is Holochain's own,
of Wind Tunnel's `zome_call_single_value` (2026-07-30), on other hardware.
"""

import os
import tempfile
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import click
import trio

from bench.conductor_client import Caller, Client, called
from bench.node import resident_mb
from bench.report import Line, show
from ioe_node.api.conductor_bundle import pack_app
from ioe_node.errors import IoeError
from sim.street import Node

CALLS = 4_000
WARM_UP = 500
WINDOW = 32
SIGNALS = 10_000
OPEN_S_MAX = 10.0
SERIAL_PER_S_MIN = 800.0
SERIAL_P95_MS_MAX = 3.0
RESIDENT_MB_MAX = 120.0
HOLOCHAIN_CALLS_PER_S = 652.0
DNA = "sim.load_dna:DNA"


def enter(admin: Client) -> tuple[Client, Caller]:
    """Install the load app; a client of it, and a key that may call it."""
    agent = admin.ask("generate_agent_pub_key")
    settings = {"modifiers": {"properties": {"stewards": [agent]}}}
    request = {
        "source": {"type": "bytes", "value": pack_app("load", [("load", DNA)], 0, False)},
        "agent_key": agent,
        "roles_settings": {"load": {"type": "provisioned", "value": settings}},
    }
    info = admin.ask("install_app", request)
    admin.ask("enable_app", {"installed_app_id": "load"})
    caller = Caller(info["cell_info"]["load"][0]["value"]["cell_id"])
    admin.ask("grant_zome_call_capability", caller.grant())
    port = admin.ask("attach_app_interface", {"allowed_origins": "ioe"})["port"]
    issued = admin.ask("issue_app_authentication_token", {"installed_app_id": "load"})
    client = Client(port)
    client.authenticate(issued["token"])
    return client, caller


def serial(client: Client, caller: Caller, calls: int) -> list[float]:
    """Milliseconds of each call, the next one after the answer."""
    took = []
    for number in range(calls):
        began = perf_counter()
        value = client.ask("call_zome", caller.signed("load", "echo", {"value": number}))
        took.append((perf_counter() - began) * 1e3)
        assert called(value) == number
    return took


def pipelined(client: Client, caller: Caller, calls: int) -> float:
    """Calls a second with `WINDOW` of them under way."""
    began = perf_counter()
    for number in range(calls):
        client.start("call_zome", caller.signed("load", "echo", {"value": number}))
        if number >= WINDOW:
            client.answer()
    for _ in range(min(WINDOW, calls)):
        client.answer()
    return calls / (perf_counter() - began)


def burst(client: Client, caller: Caller) -> tuple[int, float]:
    """How many signals of one call came, and how many a second."""
    began = perf_counter()
    client.ask("call_zome", caller.signed("load", "local_signal", {"n": SIGNALS}))
    told = heard = 0
    while told < SIGNALS:
        signal = client.next_signal()
        if signal["type"] == "app":
            told, heard = told + 1, heard + 1
        else:
            told += signal["value"]["SignalsMissed"]["missed"]
    return heard, SIGNALS / (perf_counter() - began)


async def admin_port(node: Node) -> int:
    """Where the admin door is, once it is open: that is later than the node's first answer."""
    with trio.fail_after(OPEN_S_MAX):
        while True:
            try:
                port: int = (await node.ask("bundle_list"))["admin_port"]
            except IoeError:
                await trio.sleep(0.05)
            else:
                return port


async def measure(directory: Path, calls: int) -> list[Line]:
    """Every line of this benchmark."""
    node = Node("owner", "owner", directory / "owner")
    await node.init([], 1_000, 1_000)
    config = node.home / "config.toml"
    text = config.read_text().replace("enabled = false", "enabled = true")
    config.write_text(text.replace('dnas = ["', f'dnas = ["{DNA}", "'))
    node.start()
    try:
        await node.ready()
        client, caller = enter(Client(await admin_port(node)))
        before = resident_mb(node)
        serial(client, caller, WARM_UP)
        took = serial(client, caller, calls)
        rate = pipelined(client, caller, calls)
        heard, per_s = burst(client, caller)
        grown = resident_mb(node) - before
    finally:
        await node.kill()
    p50, p95 = quantiles(took, n=20)[9], quantiles(took, n=20)[18]
    serial_per_s = len(took) / (sum(took) / 1e3)
    wanted = f">= {SERIAL_PER_S_MIN:g} calls/s"
    fast = serial_per_s >= SERIAL_PER_S_MIN
    peer = HOLOCHAIN_CALLS_PER_S
    return [
        Line("calls one by one", serial_per_s, "calls/s", calls, None, peer, wanted, fast),
        Line("one call, p50", p50, "ms", calls),
        _at_most("one call, p95", p95, "ms", calls, SERIAL_P95_MS_MAX),
        Line(f"calls, {WINDOW} at once", rate, "calls/s", calls),
        Line(f"{SIGNALS} signals of one call, heard", heard, "signals", 1),
        Line("signals of a burst", per_s, "signals/s", 1),
        _at_most("resident with one app", before, "MB", 1, RESIDENT_MB_MAX),
        Line("grown by all of this", grown, "MB", 1),
    ]


def _at_most(work: str, value: float, unit: str, runs: int, most: float) -> Line:
    return Line(work, value, unit, runs, None, None, f"<= {most:g} {unit}", value <= most)


@click.command()
@click.option("--calls", default=CALLS, show_default=True, help="Calls of each kind.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def main(calls: int, as_json: bool) -> None:
    """Signed zome calls through the WebSocket."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as directory:
        show("api", trio.run(measure, Path(directory), calls), as_json)


if __name__ == "__main__":
    main()
