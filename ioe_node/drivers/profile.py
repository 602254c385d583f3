"""Plays the metered homes of `citylearn` as a device on an accelerated clock.

Time.  The data's hour 0 is taken to be 2026-01-01T00:00Z, and its year repeats, so simulated
instants are microseconds since 1970 like any other, 2026 or later.  (The data's own row 0 is the
first hour of 1 August: the sun of a simulated January is that of August.)  All devices whose
`day`, `rate`, `started_at_us` and `hours` agree live at the same simulated instant.  With `hours`
time stands still, and the registers with it, once so many simulated hours have been played.

Energy.  A source is a year of signed hourly net energies, import positive.  Hour energy E is
spread evenly: after second s of the hour, floor(E * s / 3600) has flowed, so parts telescope to
exactly E.  A meter over several sources sums their flows minute by minute, and its registers add
up the positive and the negative minutes apart.  Hence, between any two whole minutes, exactly:
import - export of the meter over all = the sum of import - export of the meters over each.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated

import msgspec

from ioe_node.clock import Clock, SystemClock
from ioe_node.drivers.citylearn import HOMES, HOURS_PER_YEAR, Home, default_cache_dir, load_home
from ioe_node.drivers.driver import Reading, parse_options
from ioe_node.errors import ConfigError

YEAR_START_US = 1_767_225_600_000_000  # 2026-01-01T00:00Z
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
MINUTES_PER_HOUR = 60
MINUTES_PER_DAY = 1440
SECONDS_PER_HOUR = 3600

RATE_MAX = 86_400  # a day a second
SOURCES_MAX = 64
WHOLE_BP = 10_000

BATTERY_CAPACITY_MILLI_WH = 6_400_000
BATTERY_POWER_MILLI_W = 5_000_000
BATTERY_ROUND_TRIP_BP = 9_000

Source = tuple[int, ...]  # 8760 hourly net energies in milli-Wh, import positive


# --- sources -----------------------------------------------------------------------------------


def home_source(home: Home) -> Source:
    """The home's connection point: load less generation."""
    return tuple(load - pv for load, pv in zip(home.load_milli_wh, home.pv_milli_wh, strict=True))


def load_source(home: Home, share_bp: int) -> Source:
    """An appliance that draws a share of the home's load, rounded down each hour."""
    return tuple(load * share_bp // WHOLE_BP for load in home.load_milli_wh)


def battery_source(neighbours: Sequence[Source]) -> Source:
    """A battery that follows the neighbours' summed net: 6.4 kWh, 5 kW, empty at the year's start.

    Each hour it takes what it can of their surplus and gives what it can of their deficit.  The
    0.9 of the round trip is lost on charging; the fraction of a milli-Wh that the loss leaves is
    lost too (stored = floor(0.9 * taken)).
    """
    stored_milli_wh = 0
    flows = []
    for net in map(sum, zip(*neighbours, strict=True)):
        if net < 0:
            room = BATTERY_CAPACITY_MILLI_WH - stored_milli_wh
            fitting = room * WHOLE_BP // BATTERY_ROUND_TRIP_BP
            flow = min(-net, BATTERY_POWER_MILLI_W, fitting)
            stored_milli_wh += flow * BATTERY_ROUND_TRIP_BP // WHOLE_BP
        else:
            flow = -min(net, BATTERY_POWER_MILLI_W, stored_milli_wh)
            stored_milli_wh += flow
        flows.append(flow)
    return tuple(flows)


def parse_source(text: str, home: Callable[[int], Home]) -> Source:
    """`home:3`, `load:3*2500` (basis points of its load) or `battery:1,2,3` (the homes it serves).

    `home` loads a home by number.  ConfigError quotes what cannot be read.
    """
    kind, _, rest = text.partition(":")
    if kind == "home":
        return home_source(home(_home_number(rest, text)))
    if kind == "load":
        number, _, share = rest.partition("*")
        return load_source(
            home(_home_number(number, text)), _whole(share or str(WHOLE_BP), 1, WHOLE_BP, text)
        )
    if kind == "battery":
        numbers = [_home_number(number, text) for number in rest.split(",")]
        return battery_source([home_source(home(number)) for number in numbers])
    raise _unreadable(text)


def _home_number(digits: str, text: str) -> int:
    return _whole(digits, 1, HOMES, text)


def _whole(digits: str, least: int, most: int, text: str) -> int:
    if digits.isascii() and digits.isdecimal() and len(digits) <= len(str(most)):
        number = int(digits)
        if least <= number <= most:
            return number
    raise _unreadable(text)


def _unreadable(text: str) -> ConfigError:
    return ConfigError(
        f"driver profile: sources: cannot read {text!r}; write `home:N`, `load:N*BASIS_POINTS` or "
        f"`battery:N,N`, with homes N from 1 to {HOMES}"
    )


# --- time --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timeline:
    """Simulated time: `start_us` at real instant `started_at_us`, then `rate` times as fast.

    With `hours` it stands still for ever once so many simulated hours have been played.
    """

    start_us: int
    started_at_us: int
    rate: int
    hours: int | None = None

    def simulated_us(self, real_us: int) -> int:
        """Simulated microseconds; stands at `start_us` until the real start."""
        played_us = max(0, real_us - self.started_at_us) * self.rate
        if self.hours is not None:
            played_us = min(played_us, self.hours * HOUR_US)
        return self.start_us + played_us

    def real_us(self, simulated_us: int) -> int:
        """The real instant at which `simulated_us` has been reached."""
        return self.started_at_us - (self.start_us - simulated_us) // self.rate


@dataclass(frozen=True, slots=True)
class SimulatedClock:
    """A clock that tells the simulated time of a timeline."""

    timeline: Timeline
    clock: Clock

    def now_us(self) -> int:
        """Simulated microseconds since 1970."""
        return self.timeline.simulated_us(self.clock.now_us())


# --- registers ---------------------------------------------------------------------------------


def flowed_milli_wh(energy_milli_wh: int, second: int) -> int:
    """What of an hour's net energy has flowed after `second` seconds of it, rounded down."""
    return energy_milli_wh * second // SECONDS_PER_HOUR


class NetMeter:
    """The cumulative import and export registers of a meter over `sources`, from 2026 on."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)
        self._net: Source = tuple(map(sum, zip(*sources, strict=True)))
        hours = [self._hour(hour, MINUTES_PER_HOUR) for hour in range(len(self._net))]
        self._imported = (0, *accumulate(imported for imported, _ in hours))
        self._exported = (0, *accumulate(exported for _, exported in hours))

    def at_minute(self, at_us: int) -> tuple[int, int]:
        """(import, export) in milli-Wh at the whole minute at or before `at_us`."""
        years, hour, second = _place(at_us, len(self._net))
        imported, exported = self._hour(hour, second // MINUTES_PER_HOUR)
        return (
            years * self._imported[-1] + self._imported[hour] + imported,
            years * self._exported[-1] + self._exported[hour] + exported,
        )

    def power_milli_w(self, at_us: int) -> int:
        """The net power at `at_us`: constant over an hour, so its milli-Wh are milli-W."""
        _, hour, _ = _place(at_us, len(self._net))
        return self._net[hour]

    def _hour(self, hour: int, minutes: int) -> tuple[int, int]:
        """(import, export) of the first `minutes` of `hour`."""
        net = self._net[hour]
        # A minute of one source differs from its share by less than 1 mWh, so where the sum's
        # minute is at least one mWh a source, every minute has the sign of the hour.
        if abs(net) >= len(self._sources) * MINUTES_PER_HOUR:
            flowed = self._flowed(hour, minutes)
            return max(flowed, 0), max(-flowed, 0)
        reached = [self._flowed(hour, minute) for minute in range(minutes + 1)]
        steps = [after - before for before, after in pairwise(reached)]
        return (
            sum(step for step in steps if step > 0),
            -sum(step for step in steps if step < 0),
        )

    def _flowed(self, hour: int, minutes: int) -> int:
        return sum(flowed_milli_wh(source[hour], minutes * 60) for source in self._sources)


def draw_at(source: Source, at_us: int) -> tuple[int, int]:
    """(power in milli-W, cumulative milli-Wh) of one source at the whole second before `at_us`.

    For a source that only draws, such as `load_source`; what the plug emulator plays.
    """
    years, hour, second = _place(at_us, len(source))
    return source[hour], (
        years * sum(source) + sum(source[:hour]) + flowed_milli_wh(source[hour], second)
    )


def _place(at_us: int, hours_per_year: int) -> tuple[int, int, int]:
    """(whole years played, hour of the year, second of the hour) of a simulated instant."""
    assert at_us >= YEAR_START_US
    seconds = (at_us - YEAR_START_US) // SECOND_US
    hours, second = divmod(seconds, SECONDS_PER_HOUR)
    return hours // hours_per_year, hours % hours_per_year, second


# --- the driver --------------------------------------------------------------------------------


class ProfileOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module docstring; every default is real time from the data's first hour."""

    sources: Annotated[list[str], msgspec.Meta(min_length=1, max_length=SOURCES_MAX)]
    day: datetime.date | Annotated[int, msgspec.Meta(ge=0, lt=HOURS_PER_YEAR)] = 0
    rate: Annotated[int, msgspec.Meta(ge=1, le=RATE_MAX)] = 1
    started_at_us: Annotated[int, msgspec.Meta(ge=0)] | None = None
    hours: Annotated[int, msgspec.Meta(ge=1)] | None = None
    update_minutes: Annotated[int, msgspec.Meta(ge=1, le=MINUTES_PER_DAY)] = 1
    data: str | None = None


class Profile:
    """A meter over simulated sources; it renews its registers every `update_minutes`."""

    def __init__(
        self, sources: Sequence[Source], timeline: Timeline, clock: Clock, update_minutes: int = 1
    ) -> None:
        self._meter = NetMeter(sources)
        self._clock = SimulatedClock(timeline, clock)
        self._update_us = update_minutes * MINUTE_US

    @classmethod
    def from_options(cls, options: Mapping[str, object], clock: Clock | None = None) -> "Profile":
        """ConfigError names the key; LocalError says to fetch the data."""
        parsed = parse_options(options, ProfileOptions, "profile")
        if MINUTES_PER_DAY % parsed.update_minutes:
            raise ConfigError("driver profile: update_minutes: a day must be a multiple of it")
        clock = clock or SystemClock()
        cache_dir = Path(parsed.data).expanduser() if parsed.data else default_cache_dir()
        return cls(
            [parse_source(text, lambda n: load_home(cache_dir, n)) for text in parsed.sources],
            Timeline(
                start_us(parsed.day),
                clock.now_us() if parsed.started_at_us is None else parsed.started_at_us,
                parsed.rate,
                parsed.hours,
            ),
            clock,
            parsed.update_minutes,
        )

    async def read(self) -> Reading:
        """The registers as the meter last renewed them; never fails."""
        at_us = self._clock.now_us() // self._update_us * self._update_us
        imported, exported = self._meter.at_minute(at_us)
        return Reading(at_us, imported, exported, self._meter.power_milli_w(at_us))


def start_us(day: datetime.date | int) -> int:
    """The simulated instant that `day`, a date or an hour of the data's year, begins."""
    if isinstance(day, int):
        return YEAR_START_US + day * HOUR_US
    start = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC)
    at_us = int(start.timestamp()) * SECOND_US
    if at_us < YEAR_START_US:
        raise ConfigError("driver profile: day: the simulated calendar starts at 2026-01-01")
    return at_us
