"""When a load is off: the rule of the demand management app (pure).

    dear        the price now is more than `over_average_percent` above the mean of the prices of
                the `average_hours` around now, or an event asks for less
    off         while it is dear, but `max_off_s` at the longest, then `min_on_s` on
    by hand     whoever switches by hand is obeyed for `override_s`
    rest        nothing is switched within `min_on_s` or `min_off_s` of the last time: compressors
                and relays wear

What is not known changes nothing: without a price the load is given back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

SECOND_US = 1_000_000
HOUR_US = 3_600 * SECOND_US
Seconds = Annotated[int, Meta(ge=0, le=86_400)]


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the owner chooses; titles and descriptions are for who is asked to."""

    enabled: Annotated[bool, Meta(title="The app may switch")] = True
    over_average_percent: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            title="Percent above the average",
            description="Power that costs more than this is dear: the device is off meanwhile.",
        ),
    ] = 20
    average_hours: Annotated[
        int,
        Meta(
            ge=1,
            le=168,
            title="Hours of the average",
            description="Half of them past, half to come.",
        ),
    ] = 24
    min_off_s: Annotated[Seconds, Meta(title="Seconds off at least")] = 300
    min_on_s: Annotated[Seconds, Meta(title="Seconds on at least")] = 300
    max_off_s: Annotated[
        Seconds,
        Meta(title="Seconds off at most", description="Then it is on for a while, however dear."),
    ] = 7_200
    override_s: Annotated[
        Seconds,
        Meta(
            title="Seconds by hand",
            description="For so long whoever switches by hand is obeyed.",
        ),
    ] = 3_600


@dataclass(frozen=True)
class Price:
    """What a kWh costs from `start_us` to before `end_us`, in micro-credits (or millionths of
    whatever the feed counts in: only their ratio matters).

    `level` above 0 is an event that asks for less whatever it costs.
    """

    start_us: int
    end_us: int
    micro_per_kwh: int | None
    level: int = 0


@dataclass(frozen=True)
class Load:
    """What the app knows of its switch: how it stands, since when, and what it wanted last.

    `wanted` is None until the app has switched; `by_hand_us` is when somebody else last did.
    """

    on: bool
    since_us: int
    wanted: bool | None = None
    by_hand_us: int | None = None


@dataclass(frozen=True)
class Decision:
    """Switch `on`, off, or leave it (None), and why; prices as in `Price`."""

    on: bool | None
    why: str
    micro_per_kwh: int | None = None
    threshold_micro: int | None = None


def seen(load: Load | None, on: bool, at_us: int) -> Load:
    """What is known once the switch is seen to stand so; what we have not changed, a hand has."""
    if load is None:
        return Load(on, at_us)
    if on == load.on:
        return load
    return Load(on, at_us, None, at_us)


def switched(load: Load, on: bool, at_us: int) -> Load:
    """What is known after the app has switched."""
    return Load(on, at_us, on, load.by_hand_us)


def average_micro(prices: Sequence[Price], from_us: int, to_us: int) -> int | None:
    """The mean price between two times, weighted by time, rounded down; None without any."""
    cost = time_us = 0
    for each in prices:
        overlap_us = min(each.end_us, to_us) - max(each.start_us, from_us)
        if each.micro_per_kwh is not None and overlap_us > 0:
            cost += each.micro_per_kwh * overlap_us
            time_us += overlap_us
    return cost // time_us if time_us else None


def decide(settings: Settings, prices: Sequence[Price], load: Load, now_us: int) -> Decision:
    """What to do with the switch now."""
    if not settings.enabled:
        return _given_back(settings, load, now_us, "the app may not switch")
    if load.by_hand_us is not None and now_us < load.by_hand_us + settings.override_s * SECOND_US:
        return Decision(None, "switched by hand; that is obeyed for a while")
    half_us = settings.average_hours * HOUR_US // 2
    average = average_micro(prices, now_us - half_us, now_us + half_us)
    current = [each for each in prices if each.start_us <= now_us < each.end_us]
    event = any(each.level > 0 for each in current)
    price = next((each.micro_per_kwh for each in current if each.micro_per_kwh is not None), None)
    if not event and (price is None or average is None):
        return _given_back(settings, load, now_us, "no price is known for now")
    limit = None
    if average is not None:
        limit = average + abs(average) * settings.over_average_percent // 100
    dear = event or (price is not None and limit is not None and price > limit)
    found = _timed(settings, load, now_us, not dear)
    why = f"{_reason(event, dear, settings)}{found.why}"
    return Decision(found.on, why, price, limit)


def _reason(event: bool, dear: bool, settings: Settings) -> str:
    if event:
        return "an event asks for less"
    than = f"more than {settings.over_average_percent} % above the average"
    return f"the price is {than}" if dear else f"the price is not {than}"


def _timed(settings: Settings, load: Load, now_us: int, on: bool) -> Decision:
    """The switch as it should be, but for the rests and the longest time off."""
    for_s = (now_us - load.since_us) // SECOND_US
    ours_off = not load.on and load.wanted is False
    if not on and ours_off and for_s >= settings.max_off_s:
        return Decision(True, f", but it was off for {for_s} s: the longest")
    if on == load.on:
        return Decision(None, "")
    if on and not ours_off:
        return Decision(None, "; it was off before, and stays")
    rest_s = settings.min_off_s if on else settings.min_on_s
    if load.wanted is not None and for_s < rest_s:
        return Decision(None, f"; it rests for {rest_s} s after each switching")
    return Decision(on, "")


def _given_back(settings: Settings, load: Load, now_us: int, why: str) -> Decision:
    """On again, if it was the app that switched it off."""
    found = _timed(settings, load, now_us, True)
    return Decision(found.on, f"{why}{found.why}")
