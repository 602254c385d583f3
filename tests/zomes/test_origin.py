"""Certificates of origin: no energy counted twice, no origin changed on the way."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from ioe_node.hdi import Invalid, Missing, Timestamp, Valid
from ioe_node.model.action import CreateLink
from ioe_node.model.record import Record
from zomes.identity.integrity import Acknowledgement, Enrolment
from zomes.metering.integrity import IntervalReading
from zomes.origin import holdings
from zomes.origin.audit import audited
from zomes.origin.holdings import DAY_US, Holdings
from zomes.origin.integrity import (
    VERIFIED,
    Give,
    Issue,
    Plant,
    Retire,
    Side,
    Store,
    Verification,
    halves_of,
)

LENGTH_US = 15 * 60 * 1_000_000
BEGIN_US = (1_700_000_100_000_000 // DAY_US - 2) * DAY_US
ROOF = Plant("pv_roof", "carlton", 5_000_000)
BATTERY = Plant("storage", "carlton", 5_000_000, efficiency_bp=9_000, decay_bp=100)


class Street:
    """A roof, a battery and a kettle, and their ledgers of certificates."""

    def __init__(self, neighbourhood: Any, sign_together: Callable[..., list[Record]]) -> None:
        self.place = neighbourhood
        self.world = neighbourhood.world
        self.roof, self.battery, self.kettle = map(neighbourhood.member, (2, 3, 4))
        self.verifier = neighbourhood.steward
        self.last: dict[bytes, Any] = {}
        self.held: dict[bytes, Holdings] = {}
        self._registers: dict[bytes, tuple[int, int]] = {}
        self._sign_together = sign_together
        self.place.create(self.roof, ROOF)
        self.place.create(self.battery, BATTERY)

    def meter(self, author: Any, number: int, drew: int, gave: int, **changed: Any) -> Record:
        """A reading of the `number`th interval."""
        begun = self._registers.get(author.agent, (0, 0))
        self._registers[author.agent] = registers = (begun[0] + drew, begun[1] + gave)
        start = BEGIN_US + number * LENGTH_US
        reading = IntervalReading(
            Timestamp(start),
            Timestamp(start + LENGTH_US),
            drew,
            gave,
            *registers,
            "measured",
            "device",
        )
        made: Record = self.place.create(author, replace(reading, **changed))
        return made

    def before(self, author: Any) -> tuple[Any, Holdings]:
        return self.last.get(author.agent), self.held.get(author.agent, Holdings())

    def write(self, author: Any, entry: Any) -> Record:
        """Commit a step, which must be valid."""
        record: Record = self.place.create(author, entry)
        self.last[author.agent], self.held[author.agent] = record.hash, entry.after
        return record

    def issue(self, author: Any, reading: Record, energy: int, **changed: Any) -> Issue:
        """A certificate of what a roof gave."""
        previous, held = self.before(author)
        metered = self.found(reading)
        seq = reading.action.action_seq
        after = holdings.issued(held, seq, energy, energy, again=False) or held
        entry = Issue(
            previous,
            holdings.gained(after, energy),
            reading.hash,
            metered.start,
            metered.end,
            energy,
            "pv_roof",
            41,
            "carlton",
            "device",
        )
        return replace(entry, **changed)

    def discharge(self, reading: Record, lot: Record, energy: int, **changed: Any) -> Issue:
        """A certificate of what the battery gave."""
        previous, held = self.before(self.battery)
        metered = self.found(reading)
        seq, at = reading.action.action_seq, metered.start
        after = holdings.issued(held, seq, energy, metered.export_milli_wh, again=True) or held
        number = self.found(lot).after.brought
        left = holdings.discharged(after, number, energy, at, BATTERY.decay_bp) or after
        entry = self.issue(self.battery, reading, energy, store=lot.hash)
        return replace(entry, previous=previous, after=holdings.gained(left, energy), **changed)

    def give(self, giver: Any, taker: Any, came: Record, energy: int, **changed: Any) -> Give:
        """A gift out of what `came` brought the giver."""
        before, giving = self.before(giver)
        last, taking = self.before(taker)
        number = self.number(giver, came)
        left = holdings.spent(giving, number, energy) or giving
        sides = (Side(before, left), Side(last, holdings.gained(taking, energy)))
        parties = (giver.party(), taker.party())
        certificate = getattr(self.found(came), "certificate", came.hash)
        entry = Give(parties, sides, certificate, came.hash, energy, None)
        return replace(entry, **changed)

    def number(self, author: Any, came: Record) -> int:
        entry = self.found(came)
        if isinstance(entry, Give):
            return entry.sides[1].after.brought
        return int(entry.after.brought)

    def found(self, record: Record) -> Any:
        return self.place.rules.found(record).entry

    def verdicts(self, giver: Any, taker: Any, entry: Give) -> list[Any]:
        records = self._sign_together(entry, "origin.Give", [giver, taker])
        return [self.world.judge(record) for record in records]

    def given(self, giver: Any, taker: Any, came: Record, energy: int) -> Record:
        """The taker's half of a gift, which is final."""
        entry = self.give(giver, taker, came, energy)
        records = self._sign_together(entry, "origin.Give", [giver, taker])
        for record, author, side in zip(records, (giver, taker), entry.sides, strict=True):
            self.world.keep(record)
            author.take(record)
            self.last[author.agent], self.held[author.agent] = record.hash, side.after
        self.world.final.add(halves_of(self.place.rules.found(records[0]))[0])
        return records[1]

    def retire(
        self, author: Any, came: Record, energy: int, reading: Any, **changed: Any
    ) -> Retire:
        """The author's meter drew it."""
        previous, held = self.before(author)
        seq, metered = reading.action.action_seq, self.found(reading)
        drawn = holdings.drawn(held, seq, energy, metered.import_milli_wh) or held
        left = holdings.spent(drawn, self.number(author, came), energy) or drawn
        return replace(self.used(previous, left, came, energy, reading), **changed)

    def used(
        self, previous: Any, left: Holdings, came: Record, energy: int, reading: Record | None
    ) -> Retire:
        """The energy of a certificate leaves the ledger; by `reading`, or nobody knows why."""
        certificate = self.world.record(getattr(self.found(came), "certificate", came.hash))
        issued = self.found(certificate)
        return Retire(
            previous,
            left,
            certificate.hash,
            certificate.action.author,
            issued.start,
            issued.source,
            issued.g_co2_per_kwh,
            came.hash,
            energy,
            "consumed",
            None if reading is None else reading.hash,
            "",
        )

    def store(self, came: Record, energy: int, reading: Record, **changed: Any) -> Store:
        """The battery took it up."""
        previous, held = self.before(self.battery)
        seq, metered = reading.action.action_seq, self.found(reading)
        drawn = holdings.drawn(held, seq, energy, metered.import_milli_wh) or held
        left = holdings.spent(drawn, self.number(self.battery, came), energy) or drawn
        kept = energy * 9 // 10
        after = holdings.stored(left, kept, metered.end)
        certificate = self.found(came).certificate
        entry = Store(previous, after, certificate, came.hash, energy, kept, reading.hash)
        return replace(entry, **changed)

    def refused(self, author: Any, entry: Any, why: str) -> None:
        verdict = self.place.verdict(author, entry)
        assert isinstance(verdict, Invalid), verdict
        assert why in verdict.reason, verdict

    def no_gift(self, giver: Any, taker: Any, entry: Give, why: str) -> None:
        for verdict in self.verdicts(giver, taker, entry):
            assert isinstance(verdict, Invalid), verdict
            assert why in verdict.reason, verdict


@pytest.fixture
def street(found_neighbourhood: Any, sign_together: Any, new_author: Any) -> Street:
    return Street(found_neighbourhood(verifiers=(new_author(1).agent,)), sign_together)


def test_a_reading_is_certified_once_and_in_order(street: Street) -> None:
    first, second, third = (street.meter(street.roof, number, 0, 900) for number in range(3))
    street.write(street.roof, street.issue(street.roof, second, 900))
    for reading in (first, second):
        street.refused(street.roof, street.issue(street.roof, reading, 900), "certified already")
    street.refused(street.roof, street.issue(street.roof, third, 901), "never went out")
    street.refused(street.roof, street.issue(street.roof, third, 0), "never went out")
    street.write(street.roof, street.issue(street.roof, third, 900))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"source": "wind"}, "another source or zone"),
        ({"zone": "fitzroy"}, "another source or zone"),
        ({"g_co2_per_kwh": 0}, "another weight in CO2"),
        ({"g_co2_per_kwh": None}, "another weight in CO2"),
        ({"trust": "substation"}, "vouched for by another"),
        ({"start": Timestamp(0)}, "another interval"),
        ({"after": Holdings()}, "holdings that are not"),
    ],
)
def test_a_certificate_says_what_its_reading_and_machine_say(
    street: Street, changed: dict[str, Any], why: str
) -> None:
    reading = street.meter(street.roof, 0, 0, 900)
    street.refused(street.roof, street.issue(street.roof, reading, 900, **changed), why)
    assert street.place.verdict(street.roof, street.issue(street.roof, reading, 900)) is Valid


def test_only_ones_own_measured_readings_count(street: Street) -> None:
    theirs = street.meter(street.kettle, 0, 0, 900)
    street.refused(street.roof, street.issue(street.roof, theirs, 900), "no reading of the author")
    nobodys = street.issue(street.kettle, theirs, 900)
    street.refused(street.kettle, nobodys, "not said what it is")
    guess = street.meter(street.roof, 0, 0, 900, quality="estimated")
    street.refused(street.roof, street.issue(street.roof, guess, 900), "estimated")


def test_a_step_names_the_last_one(street: Street) -> None:
    first, second = (street.meter(street.roof, number, 0, 900) for number in range(2))
    issued = street.write(street.roof, street.issue(street.roof, first, 900))
    entry = street.issue(street.roof, second, 900)
    for wrong in (None, first.hash):
        street.refused(street.roof, replace(entry, previous=wrong), "its author's last one")
    assert entry.previous == issued.hash


def test_a_certificate_is_split_into_no_more_than_itself(street: Street) -> None:
    reading = street.meter(street.roof, 0, 0, 900)
    issued = street.write(street.roof, street.issue(street.roof, reading, 900))
    street.given(street.roof, street.kettle, issued, 600)
    for energy in (301, 900, 0, -1):
        entry = street.give(street.roof, street.kettle, issued, energy)
        street.no_gift(street.roof, street.kettle, entry, "more than the giver holds")
    fair = street.give(street.roof, street.kettle, issued, 300)
    for place in (0, 1):
        sides = list(fair.sides)
        more = holdings.gained(sides[place].after, 1)
        sides[place] = replace(sides[place], after=more)
        wrong = replace(fair, sides=tuple(sides))
        street.no_gift(street.roof, street.kettle, wrong, "not what they were with the gift")
    street.given(street.roof, street.kettle, issued, 300)
    entry = street.give(street.roof, street.kettle, issued, 1)
    street.no_gift(street.roof, street.kettle, entry, "more than the giver holds")


def test_nobody_gives_what_another_holds_or_calls_it_something_else(street: Street) -> None:
    reading = street.meter(street.roof, 0, 0, 900)
    issued = street.write(street.roof, street.issue(street.roof, reading, 900))
    theirs = street.give(street.kettle, street.battery, issued, 5)
    street.no_gift(street.kettle, street.battery, theirs, "another's")
    entry = street.give(street.roof, street.kettle, issued, 5, certificate=reading.hash)
    street.no_gift(street.roof, street.kettle, entry, "another certificate")
    entry = street.give(street.roof, street.kettle, issued, 5, sale=reading.hash)
    street.no_gift(street.roof, street.kettle, entry, "settlement of others")


def test_what_is_drawn_is_retired_once(street: Street) -> None:
    reading = street.meter(street.roof, 0, 0, 900)
    issued = street.write(street.roof, street.issue(street.roof, reading, 900))
    came = street.given(street.roof, street.kettle, issued, 900)
    drew, later = (street.meter(street.kettle, number, 700, 0) for number in range(2))
    street.refused(street.kettle, street.retire(street.kettle, came, 701, drew), "meter drew")
    street.refused(street.kettle, street.retire(street.kettle, came, 5, later), "another interval")
    street.refused(street.kettle, street.retire(street.kettle, came, 5, reading), "no reading")
    for lie in ({"source": "wind"}, {"g_co2_per_kwh": 0}, {"issuer": street.kettle.agent}):
        wrong = street.retire(street.kettle, came, 650, drew, **lie)
        street.refused(street.kettle, wrong, "another issuer, time, source or weight")
    street.write(street.kettle, street.retire(street.kettle, came, 650, drew))
    street.refused(street.kettle, street.retire(street.kettle, came, 51, drew), "meter drew")
    street.write(street.kettle, street.retire(street.kettle, came, 50, drew))
    previous, held = street.before(street.kettle)
    left = holdings.spent(held, street.number(street.kettle, came), 200)
    assert left is not None
    last = replace(street.used(previous, left, came, 200, None), purpose="burned")
    street.refused(street.kettle, last, "a reason of at most")
    street.write(street.kettle, replace(last, reason="nobody used it"))
    assert street.held[street.kettle.agent].parts == ()


def test_what_was_given_is_used_once_it_is_final(street: Street) -> None:
    reading = street.meter(street.roof, 0, 0, 900)
    issued = street.write(street.roof, street.issue(street.roof, reading, 900))
    came = street.given(street.roof, street.kettle, issued, 900)
    drew = street.meter(street.kettle, 0, 700, 0)
    (half,) = street.world.final
    street.world.final.clear()
    waits = Missing((), (), (half,))
    used = street.retire(street.kettle, came, 700, drew)
    assert street.place.verdict(street.kettle, used) == waits
    passed_on = street.give(street.kettle, street.battery, came, 5)
    assert street.verdicts(street.kettle, street.battery, passed_on) == [waits] * 2
    street.refused(street.kettle, replace(used, energy_milli_wh=701), "meter drew")
    street.world.final.add(half)
    assert street.place.verdict(street.kettle, used) is Valid


def test_a_battery_keeps_the_origin_and_loses_what_it_must(street: Street) -> None:
    reading = street.meter(street.roof, 0, 0, 1_000)
    issued = street.write(street.roof, street.issue(street.roof, reading, 1_000))
    came = street.given(street.roof, street.battery, issued, 1_000)
    took = street.meter(street.battery, 0, 1_000, 0)
    lossless = street.store(came, 1_000, took, stored_milli_wh=1_000)
    street.refused(street.battery, lossless, "at the battery's efficiency")
    street.refused(street.battery, street.store(came, 1_001, took), "meter drew")
    lot = street.write(street.battery, street.store(came, 1_000, took))
    street.refused(street.battery, street.store(came, 1, took), "meter drew")

    gave = street.meter(street.battery, 1, 0, 2_000)
    fresh = street.issue(street.battery, gave, 900)
    street.refused(street.battery, fresh, "comes out of its lots")
    for changed in ({"source": "wind"}, {"zone": "fitzroy"}, {"g_co2_per_kwh": 11}):
        wrong = street.discharge(gave, lot, 400, **changed)
        street.refused(street.battery, wrong, "another origin")
    early = street.discharge(took, lot, 400)
    street.refused(street.battery, early, "never went out")
    street.refused(street.battery, street.discharge(gave, lot, 901), "left in the battery")
    out = street.write(street.battery, street.discharge(gave, lot, 400))
    assert (street.found(out).source, street.found(out).g_co2_per_kwh) == ("pv_roof", 41)


def test_a_battery_loses_by_the_day(street: Street) -> None:
    reading = street.meter(street.roof, 0, 0, 1_000)
    issued = street.write(street.roof, street.issue(street.roof, reading, 1_000))
    came = street.given(street.roof, street.battery, issued, 1_000)
    took = street.meter(street.battery, 0, 1_000, 0)
    lot = street.write(street.battery, street.store(came, 1_000, took))
    for number in range(1, 97):
        street.meter(street.battery, number, 0, 0)
    gave = street.meter(street.battery, 97, 0, 2_000)
    street.refused(street.battery, street.discharge(gave, lot, 892), "left in the battery")
    street.write(street.battery, street.discharge(gave, lot, 891))
    assert street.held[street.battery.agent].lots == ()


def test_a_lot_is_written_off_with_a_reason(street: Street) -> None:
    reading = street.meter(street.roof, 0, 0, 1_000)
    issued = street.write(street.roof, street.issue(street.roof, reading, 1_000))
    came = street.given(street.roof, street.battery, issued, 1_000)
    took = street.meter(street.battery, 0, 1_000, 0)
    lot = street.write(street.battery, street.store(came, 1_000, took))
    previous, held = street.before(street.battery)
    left = holdings.written_off(held, held.lots[0].number, 100)
    assert left is not None
    entry = street.used(previous, left, lot, 100, None)
    entry = replace(entry, purpose="set aside", reason="its charge fell short")
    consumed = replace(entry, purpose="consumed", reading=took.hash, reason="")
    street.refused(street.battery, consumed, "out of no battery")
    street.refused(street.battery, replace(entry, energy_milli_wh=901), "more than the author")
    street.write(street.battery, entry)
    assert street.held[street.battery.agent].lots[0].energy_milli_wh == 800


def test_a_machine_is_what_its_owner_enrolled(street: Street) -> None:
    owner = street.place.member(9)
    enrolled = Enrolment(street.battery.agent, "storage", "box", Timestamp(1))
    word = street.place.create(owner, enrolled)
    street.place.create(street.battery, Acknowledgement(owner.agent, word.hash))
    street.refused(street.battery, ROOF, "another machine than its owner enrolled")
    assert street.place.verdict(street.battery, BATTERY) is Valid
    for efficiency_bp, decay_bp in ((10_001, 0), (0, 0), (9_000, -1)):
        wrong = replace(BATTERY, efficiency_bp=efficiency_bp, decay_bp=decay_bp)
        street.refused(street.battery, wrong, "never more than all")


def test_verifiers_vouch_for_what_others_issued(street: Street) -> None:
    reading = street.meter(street.roof, 0, 0, 900)
    issued = street.write(street.roof, street.issue(street.roof, reading, 900))
    word = Verification(issued.hash)
    street.refused(street.roof, word, "only a verifier")
    street.refused(street.verifier, Verification(reading.hash), "certificate of another's")
    said = street.place.create(street.verifier, word)
    link = {"base": issued.hash, "target": said.hash, "link_type": VERIFIED, "tag": b""}
    assert street.place.verdict_on(street.verifier, CreateLink, **link) is Valid
    assert isinstance(street.place.verdict_on(street.roof, CreateLink, **link), Invalid)
    elsewhere = {**link, "base": reading.hash}
    assert isinstance(street.place.verdict_on(street.verifier, CreateLink, **elsewhere), Invalid)


def test_an_audit_finds_what_is_counted_twice_and_names_what_it_cannot_check(
    street: Street,
) -> None:
    reading = street.meter(street.roof, 0, 0, 900)
    issued = street.write(street.roof, street.issue(street.roof, reading, 900))
    came = street.given(street.roof, street.kettle, issued, 900)
    drew = street.meter(street.kettle, 0, 700, 0)
    street.write(street.kettle, street.retire(street.kettle, came, 700, drew))
    roof, kettle = (
        [street.place.rules.found(each) for each in author.chain if each.entry is not None]
        for author in (street.roof, street.kettle)
    )
    steps = (Issue, Give, Retire)
    ledgers = {
        street.roof.agent: [found for found in roof if isinstance(found.entry, steps)],
        street.kettle.agent: [found for found in kettle if isinstance(found.entry, steps)],
    }
    good = audited(ledgers)
    assert good.sums == {"consumed": 700, "held": 200, "issued": 900}
    assert (good.doubled, good.unchecked) == ((), ())

    forgetful = {**ledgers, street.roof.agent: ledgers[street.roof.agent][:1]}
    assert audited(forgetful).unchecked == (came.hash,)

    *before, last = ledgers[street.kettle.agent]
    twice = structs.replace(last, entry=replace(last.entry, energy_milli_wh=701))
    assert audited({**ledgers, street.kettle.agent: [*before, twice]}).doubled == (came.hash,)
