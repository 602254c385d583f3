"""/metrics for Prometheus: the node, its chains, its share of the DHT, its devices, its energy.

Every figure is read when it is asked for, so that nothing is counted twice and nothing is kept.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from ioe_node.api.http_household import flow
from ioe_node.api.http_node import node_version
from ioe_node.api.http_routes import File, Nothing, route
from ioe_node.api.http_types import Machine
from ioe_node.conductor import calls

if TYPE_CHECKING:
    from ioe_node.api.http_app import Api

Labelled = list[tuple[tuple[str, ...], float]]
OF_COMMUNITY = ("community",)
OF_DEVICE = ("device", "name", "kind")
MILLI = 1_000

# (name, what it is, the key of a community's status), counters that only grow, then gauges.
COUNTED = (
    ("ioe_chain_actions", "Actions on our source chain.", "actions"),
    ("ioe_ops_validated", "DHT ops validated since the start.", "ops_validated"),
    ("ioe_bundles_committed", "Bundles committed since the start.", "bundles_committed"),
    ("ioe_records_refused", "Records refused since the start.", "records_refused"),
    ("ioe_messages_refused", "Messages refused since the start.", "messages_refused"),
)
MEASURED = (
    ("ioe_unpublished_actions", "Actions that wait for an authority.", "unpublished"),
    ("ioe_authorities", "Who should hold our chain.", "authorities"),
    ("ioe_authorities_whole", "Those who hold all of it.", "authorities_whole"),
    ("ioe_owed_records", "Records that are owed elsewhere.", "owed"),
    ("ioe_ops_held", "DHT ops held here.", "ops_held"),
    ("ioe_limbo_rows", "Records that wait to be validated.", "limbo_rows"),
)
LENGTHS = (
    ("ioe_peers", "Peers known.", "peers"),
    ("ioe_peers_blocked", "Peers refused on a warrant.", "blocked"),
    ("ioe_peers_slowed", "Peers slowed down.", "slowed"),
    ("ioe_community_faults", "What is wrong in the community.", "faults"),
)


class Figures(Collector):
    """What was read for one answer."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


@route("GET", "/metrics", "read", media="text/plain")
async def metrics(api: "Api", asked: Nothing) -> File:
    """Figures for Prometheus, in its text format."""
    status = await calls.status(api.conductor)
    machines = await api.live.machines()
    registry = CollectorRegistry()
    registry.register(
        Figures([*_of_node(api, status), *_of_communities(status), *_of_devices(api, machines)])
    )
    return File(generate_latest(registry), "", CONTENT_TYPE_LATEST)


def _gauge(name: str, what: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    family = GaugeMetricFamily(name, what, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _counter(name: str, what: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    family = CounterMetricFamily(name, what, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _of_node(api: "Api", status: dict[str, Any]) -> list[Metric]:
    info = ((node_version(), str(status["role"])), 1.0)
    return [
        _gauge("ioe_node_info", "This node.", ("version", "role"), [info]),
        _gauge("ioe_node_faults", "What is wrong.", (), [((), len(status["faults"]))]),
        _gauge(
            "ioe_alerts_newest", "Number of the newest alert.", (), [((), _newest_alert(status))]
        ),
        _gauge("ioe_stream_watchers", "Who watches live.", (), [((), api.hub.watchers)]),
        _gauge("ioe_resident_bytes", "Memory of the process.", (), [((), _resident_bytes())]),
    ]


def _newest_alert(status: dict[str, Any]) -> int:
    return int(status["alerts"][-1]["id"]) if status["alerts"] else 0


def _resident_bytes() -> int:
    """By the kernel; 0 where it has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _of_communities(status: dict[str, Any]) -> list[Metric]:
    cells = [((str(each["community"]),), each) for each in status["communities"]]
    made = [
        _counter(name, what, OF_COMMUNITY, [(key, each[field]) for key, each in cells])
        for name, what, field in COUNTED
    ]
    made += [
        _gauge(name, what, OF_COMMUNITY, [(key, each[field]) for key, each in cells])
        for name, what, field in MEASURED
    ]
    return made + [
        _gauge(name, what, OF_COMMUNITY, [(key, len(each[field])) for key, each in cells])
        for name, what, field in LENGTHS
    ]


def _of_devices(api: "Api", machines: list[Machine]) -> list[Metric]:
    keyed = [((each.agent, each.name, each.kind), each) for each in machines]
    now = flow(machines, api.conductor.clock.now_us())
    parts = {
        "solar": now.solar_milli_w,
        "battery": now.battery_milli_w,
        "grid": now.grid_milli_w,
        "home": now.home_milli_w,
    }
    shown: Labelled = [
        ((name,), power / MILLI) for name, power in parts.items() if power is not None
    ]
    return [
        _gauge(
            "ioe_driver_up",
            "1 where the driver reads its device.",
            OF_DEVICE,
            [(key, each.state == "ok") for key, each in keyed],
        ),
        _gauge(
            "ioe_device_power_watts",
            "Power, import positive, export negative.",
            OF_DEVICE,
            [(k, e.power_milli_w / MILLI) for k, e in keyed if e.power_milli_w is not None],
        ),
        _gauge(
            "ioe_device_switched_on",
            "1 where the load is on.",
            OF_DEVICE,
            [(k, e.switched_on) for k, e in keyed if e.switched_on is not None],
        ),
        _gauge(
            "ioe_device_stored_ratio",
            "How full a battery is, 0 to 1.",
            OF_DEVICE,
            [(k, e.stored_bp / 10_000) for k, e in keyed if e.stored_bp is not None],
        ),
        _counter(
            "ioe_device_import_watt_hours",
            "Energy drawn, as its register counts.",
            OF_DEVICE,
            [(k, e.import_milli_wh / MILLI) for k, e in keyed if e.import_milli_wh is not None],
        ),
        _counter(
            "ioe_device_export_watt_hours",
            "Energy given, as its register counts.",
            OF_DEVICE,
            [(k, e.export_milli_wh / MILLI) for k, e in keyed if e.export_milli_wh is not None],
        ),
        _gauge("ioe_flow_watts", "The household's power now, by part.", ("part",), shown),
    ]
