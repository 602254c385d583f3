"""A month's figures: what adds up over a community, and what the market saved."""

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from currency.statement import (
    MILLI_WH_PER_KWH,
    Carbon,
    Movement,
    Statement,
    Tariff,
    carbon_of,
    statement_of,
)
from ioe_node.hdi import AgentPubKey
from ioe_node.model.hashes import agent_key

KEYS = [agent_key(bytes([number]) * 32) for number in range(4)]
TARIFF = Tariff(1_300_000, 700_000)
KWH = MILLI_WH_PER_KWH

trades = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.sampled_from(KEYS),
        st.integers(1, 10**9),
        st.integers(0, 10**9),
    ),
    max_size=30,
)


def test_a_month_by_hand() -> None:
    us, ours, other, friend = KEYS
    made = statement_of(
        [us, ours],
        [(5 * KWH, 0), (0, 3 * KWH)],
        [
            Movement(other, -2_000_000, -2 * KWH, "energy"),
            Movement(other, 1_000_000, 1 * KWH, "energy"),
            Movement(us, 1_000_000, 1 * KWH, "energy"),
            Movement(ours, -1_000_000, -1 * KWH, "energy"),
            Movement(friend, -70, 0, "other"),
            Movement(friend, 30, 0, "other"),
            Movement(other, -11, 0, "fee"),
        ],
        TARIFF,
    )
    saved = 2 * 300_000 + 1 * 300_000 - 11
    assert made == Statement(
        5 * KWH, 3 * KWH, 2 * KWH, 1 * KWH, 2_000_000, 1_000_000, 11, 70, 30, saved
    )
    assert statement_of([us], [], [], TARIFF) == Statement()


def test_energy_weighs_what_its_certificates_say_and_the_rest_what_the_grid_does() -> None:
    used = [(2 * KWH, 41), (KWH, None)]
    assert carbon_of(5 * KWH, used, 650) == Carbon(82_000 + 1_300_000, KWH, 2 * 609_000)
    assert carbon_of(5 * KWH, used, None) == Carbon(82_000, 3 * KWH, None)
    assert carbon_of(0, [], 650) == Carbon(0, 0, 0)


@given(trades)
def test_what_one_pays_another_earns(payments: list[tuple[bytes, bytes, int, int]]) -> None:
    made = []
    for each in KEYS:
        movements = []
        for payer, payee, amount, energy in payments:
            kind: Literal["energy", "other"] = "energy" if energy else "other"
            if payer == each != payee:
                movements.append(Movement(AgentPubKey(payee), -amount, -energy, kind))
            elif payee == each != payer:
                movements.append(Movement(AgentPubKey(payer), amount, energy, kind))
        made.append(statement_of([each], [], movements, TARIFF))
    assert sum(each.paid_micro for each in made) == sum(each.earned_micro for each in made)
    assert sum(each.sent_micro for each in made) == sum(each.received_micro for each in made)
    bought = sum(each.bought_milli_wh for each in made)
    assert bought == sum(each.sold_milli_wh for each in made)
    gained = bought * (TARIFF.import_micro - TARIFF.export_micro) // MILLI_WH_PER_KWH
    assert gained - len(KEYS) < sum(each.saved_micro for each in made) <= gained
