"""What a proven reduction is: metered energy below a baseline that anyone can compute again.

The baseline is the device's own: the mean of its `BASELINE_READINGS` interval readings just before
the first that it saved in, all of them measured, none of them saved in before.  So an early
promise is worth nothing, and what was switched off shortly before lowers the next baseline to
nothing.  No more readings of saving count than the baseline has: whoever draws more, just to have
a higher baseline, has drawn as much more as it can then be paid for.

The readings are the meter's own word.  So that one that lies does not take all that is offered, an
incentive gives one device no more than `device_day_micro` for what it saves in a day (of UTC), and
a reduction says what it earns beside those before it.  Two limits are left to who pays: many
devices together take more than one, and as communities know nothing of each other, a device in
two of them may claim one saving in both.
"""

from dataclasses import dataclass
from typing import Any

from ioe_node.hdi import (
    ActionHash,
    CreateOp,
    Found,
    IntegrityZome,
    Invalid,
    LinkOp,
    Timestamp,
    Valid,
    ValidationHost,
    Verdict,
    place_of,
)

BASELINE_READINGS = 8
READINGS_MAX = BASELINE_READINGS
PAID_MICRO_PER_KWH_MAX = 1_000_000_000
REDUCTIONS_PER_DAY_MAX = 32
DAY_US = 86_400_000_000
MILLI_WH_PER_KWH = 1_000_000

zome = IntegrityZome("demand")

OFFERS = zome.link_type("offers")
"""From the network's own hash to each offer to pay for reductions."""


@zome.entry_type
@dataclass(frozen=True)
class Incentive:
    """The author pays so much a kWh that a member saves between two times, `budget_micro` in all,
    and `device_day_micro` to one device for what it saves in one day.

    In micro-credits.
    """

    start: Timestamp
    end: Timestamp
    micro_per_kwh: int
    budget_micro: int
    device_day_micro: int


@zome.entry_type
@dataclass(frozen=True)
class Reduction:
    """The author's meter drew `saved_milli_wh` less than its baseline, within an incentive's time.

    `before` are the readings of the baseline and `during` those that it saved in, oldest first;
    `earns_micro` is what the saving is worth, or what is left of the day's most.
    """

    incentive: ActionHash
    before: tuple[ActionHash, ...]
    during: tuple[ActionHash, ...]
    saved_milli_wh: int
    earns_micro: int


def saved_milli_wh(before: list[int], during: list[int]) -> int:
    """What was drawn less than the mean of `before`, in milliwatt-hours; rounded down."""
    return max(0, sum(before) * len(during) // len(before) - sum(during))


def earns_micro(saved: int, incentive: Incentive, earned_micro: int) -> int:
    """What a saving earns a device that has earned so much on its day, rounded down."""
    worth = saved * incentive.micro_per_kwh // MILLI_WH_PER_KWH
    return max(0, min(worth, incentive.device_day_micro - earned_micro))


def day_of(start: Timestamp) -> int:
    """The day of a reduction whose first reading of saving begins then."""
    return start // DAY_US


@zome.validate_create
def within_reason(entry: Incentive, op: CreateOp, host: ValidationHost) -> Verdict:
    if entry.end <= entry.start:
        return Invalid("an incentive ends after it starts")
    if not 0 < entry.micro_per_kwh <= PAID_MICRO_PER_KWH_MAX or entry.budget_micro <= 0:
        return Invalid("an incentive pays something, and not more than a thousand credits a kWh")
    if not 0 < entry.device_day_micro <= entry.budget_micro:
        return Invalid("an incentive gives one device something a day, and not more than it has")
    return Valid


@zome.validate_create
def as_the_readings_say(entry: Reduction, op: CreateOp, host: ValidationHost) -> Verdict:
    if len(entry.before) != BASELINE_READINGS or not 1 <= len(entry.during) <= READINGS_MAX:
        return Invalid(
            f"a reduction has {BASELINE_READINGS} readings before and 1 to {READINGS_MAX} during it"
        )
    incentive, *found = host.must_get_records((entry.incentive, *entry.before, *entry.during))
    if not isinstance(incentive.entry, Incentive):
        return Invalid("a reduction for something that is no incentive")
    wrong = _readings_fault(found, op)
    if wrong:
        return Invalid(wrong)
    readings = [each.entry for each in found]
    before, during = readings[:BASELINE_READINGS], readings[BASELINE_READINGS:]
    if during[0].start < incentive.entry.start or during[-1].end > incentive.entry.end:
        return Invalid("a reduction outside its incentive's time")
    last = host.must_get_previous(op, Reduction)
    if last is not None:
        ended = host.must_get_record(last.entry.during[-1]).entry
        if before[0].start < ended.end:
            return Invalid("a baseline with energy in it that was saved already")
    drawn = [[each.import_milli_wh for each in part] for part in (before, during)]
    if entry.saved_milli_wh != saved_milli_wh(*drawn) or not entry.saved_milli_wh:
        return Invalid("another saving than the readings show")
    day = _day_before(op, day_of(during[0].start), host)
    if len(day) >= REDUCTIONS_PER_DAY_MAX:
        return Invalid(f"more than {REDUCTIONS_PER_DAY_MAX} reductions in one day")
    earned = sum(each.earns_micro for each in day if each.incentive == entry.incentive)
    earns = earns_micro(entry.saved_milli_wh, incentive.entry, earned)
    if entry.earns_micro != earns or not earns:
        return Invalid("another earning than the incentive gives for that saving and day")
    return Valid


def _day_before(op: CreateOp, day: int, host: ValidationHost) -> list[Reduction]:
    """The author's reductions of that day before this one."""
    found: list[Reduction] = []
    last = host.must_get_previous(op, Reduction)
    while last is not None and len(found) < REDUCTIONS_PER_DAY_MAX:
        if day_of(host.must_get_record(last.entry.during[0]).entry.start) != day:
            break
        found.append(last.entry)
        last = host.must_get_previous(place_of(last.action), Reduction)
    return found


def _readings_fault(found: list[Found], op: CreateOp) -> str:
    """Why these are not one run of the author's measured readings, or nothing."""
    before: Any = None
    for each in found:
        reading: Any = each.entry
        if each.action.author != op.action.author or not hasattr(reading, "import_milli_wh"):
            return "a reduction of something that is no reading of its author's"
        if reading.quality != "measured":
            return "a reduction that rests on estimated readings"
        if before is not None and reading.start != before.end:
            return "a reduction whose readings do not follow one another"
        before = reading
    return ""


@zome.validate_link(OFFERS)
def to_an_incentive(op: LinkOp, host: ValidationHost) -> Verdict:
    if op.action.author != op.link.author:
        return Invalid("only who pays takes the offer back")
    found = host.must_get_record(ActionHash(op.link.target))
    right = isinstance(found.entry, Incentive) and found.action.author == op.link.author
    return Valid if right else Invalid("a link to something that is no incentive of its author's")
