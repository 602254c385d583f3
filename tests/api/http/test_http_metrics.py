"""/metrics in Prometheus's format, and a Grafana dashboard that asks for nothing else."""

import json
import re
from importlib.resources import files
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

DASHBOARD = json.loads(files("ioe_node.api").joinpath("grafana.json").read_text("utf-8"))


def expressions() -> list[str]:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return asked + [each.get("definition", "") for each in DASHBOARD["templating"]["list"]]


def samples(text: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


async def test_the_dashboard_asks_for_what_is_served_and_for_all_of_it(
    owner: Any, claimed: Any
) -> None:
    await claimed()
    served = await owner.http.get("/metrics")
    assert served.headers["content-type"].startswith("text/plain; version=")
    names = set(samples(served.text))
    asked = set(re.findall(r"ioe_[a-z_]+", " ".join(expressions())))
    assert asked == names


async def test_figures_are_those_of_the_node(owner: Any, claimed: Any) -> None:
    kettle = await claimed()
    found = samples((await owner.http.get("/metrics")).text)
    (power,) = found["ioe_device_power_watts"]
    assert power.labels == {"device": kettle.agent, "name": "kettle", "kind": "consumer"}
    assert power.value == 36_000
    (street,) = (await owner.get("/api/v1/status"))["communities"]
    (actions,) = found["ioe_chain_actions_total"]
    assert actions.labels == {"community": street["name"]}
    assert 0 < actions.value <= street["chain_seq"]
    assert found["ioe_node_info"][0].labels["role"] == "owner"
    assert found["ioe_resident_bytes"][0].value > 10_000_000
    assert {each.labels["part"] for each in found["ioe_flow_watts"]} == {"home"}


def test_panels_are_told_apart_and_fit_beside_each_other() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
