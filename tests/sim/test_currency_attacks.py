"""Each attack on the currency a few times; `python -m sim.attacks` makes as many as one likes."""

from sim.attacks import ATTACKS, run_attacks

TRIALS = 8 * len(ATTACKS)


def test_no_attack_has_success_and_nobody_honest_suffers() -> None:
    reports = run_attacks(TRIALS, seed=11)
    assert [fault for each in reports for fault in each.faults] == []
    assert sum(each.payments for each in reports) > TRIALS
    for name in ATTACKS:
        assert sum(each.tried[name] for each in reports) == 8
        ended = sum(each.warranted[name] + each.refused[name] for each in reports)
        assert ended == 8, name
    for name in ("double spend", "back dated reading", "altered invoice", "split certificate"):
        assert sum(each.warranted[name] for each in reports) == 8, name
