"""Certificates as others know them: whole-MWh RECs, and EnergyTag's granular certificates.

Views of what an agent holds and has retired, as plain values for a file; nothing comes to be by
writing one, and nothing ends.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ioe_node.model.plain import plain

MILLI_WH_PER_WH = 1_000
MILLI_W_PER_W = 1_000
MILLI_WH_PER_MWH = 1_000_000_000


def recs(held: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Renewable energy certificates, of one MWh each, by issuer, source, zone and status.

    `remainder_milli_wh` is what is not a whole MWh yet; it is in no certificate.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for each in held:
        key = tuple(each[name] for name in ("issuer", "source", "zone", "state"))
        groups.setdefault(key, []).append(each)
    listed = []
    for (issuer, source, zone, state), group in groups.items():
        energy = sum(each["energy_milli_wh"] for each in group)
        whole, remainder = divmod(energy, MILLI_WH_PER_MWH)
        listed.append(
            {
                "issuer": plain(issuer),
                "energy_source": source,
                "location": zone,
                "status": state,
                "certificates": whole,
                "remainder_milli_wh": remainder,
                "vintage_start_us": min(each["start_us"] for each in group),
                "vintage_end_us": max(each["end_us"] for each in group),
            }
        )
    return listed


def granular(
    held: Iterable[Mapping[str, Any]], plants: Mapping[bytes, Mapping[str, Any] | None]
) -> list[dict[str, Any]]:
    """EnergyTag granular certificates: one an interval, its face value in whole Wh, rounded down.

    `plants` is what each issuer says that its machine is.
    """
    return [
        {
            "certificate_id": plain(each["certificate"]),
            "status": each["state"],
            "face_value_wh": each["energy_milli_wh"] // MILLI_WH_PER_WH,
            "production_start_us": each["start_us"],
            "production_end_us": each["end_us"],
            "issuance_us": each["issued_at_us"],
            "issuing_body": plain(each["issuer"]),
            "production_device_id": plain(each["issuer"]),
            "device_location": each["zone"],
            "device_capacity_w": _capacity_w(plants.get(each["issuer"])),
            "energy_source": each["source"],
            "storage": each["stored"],
            "g_co2_per_kwh": each["g_co2_per_kwh"],
            "verified_by": each["trust"],
        }
        for each in held
    ]


def _capacity_w(plant: Mapping[str, Any] | None) -> int | None:
    return None if plant is None else plant["capacity_milli_w"] // MILLI_W_PER_W
