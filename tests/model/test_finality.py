"""Finality's shapes: what comes back, what is refused, and where a member stands."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ioe_node.core.lineage import check_certificate
from ioe_node.core.witness import Duty, duties
from ioe_node.errors import Malformed
from ioe_node.model.codec import encode
from ioe_node.model.finality import (
    Certificate,
    View,
    certificates,
    check_members,
    open_standing,
    standings,
)
from ioe_node.model.hashes import core_of, location_of, proof_digest, witness_place
from ioe_node.model.record import WireRecord
from ioe_node.model.signing import Signer
from sim.witness_trials import DNA, Trial, admits


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    """One that a trial without an attack ends with, after a handover."""
    for seed in range(50):
        trial = Trial(seed, attack=False, older=12).run(80)
        found = [each for each in trial.final() if each.lineage.steps]
        if found:
            return found[-1]
    pytest.fail("no trial hands over")


@pytest.fixture(scope="module")
def doors(certificate: Certificate) -> dict[str, tuple[Any, bytes]]:
    """Every way in: (decoder, bytes that it takes)."""

    def certified(data: bytes) -> Certificate:
        decoded = certificates.decode(data)
        check_certificate(DNA, decoded, [], admits)
        return decoded

    def standing(data: bytes) -> WireRecord:
        wire = standings.decode(data)
        open_standing(wire, DNA)
        return wire

    record = certificate.lineage.steps[-1].retirements[0].record
    assert record is not None
    duty = Duty(certificate.lineage, ((certificate.seq, certificate.hash),), record)
    return {
        "certificate": (certified, encode(certificate)),
        "standing": (standing, encode(certificate.lineage.standing)),
        "duty": (duties.decode, encode(duty)),
    }


def test_each_takes_its_own(doors: Any) -> None:
    for decode, data in doors.values():
        assert encode(decode(data)) == data


@settings(max_examples=300)
@given(st.data())
def test_damage_is_refused_or_is_canonical_too(doors: Any, damaged: Any, data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(doors)))
    decode, whole = doors[name]
    bad = data.draw(damaged(whole))
    try:
        value = decode(bad)
    except Malformed:
        return
    assert encode(value) == bad


@settings(max_examples=300)
@given(st.data(), st.binary(max_size=200))
def test_any_bytes_are_malformed_at_worst(doors: Any, data: Any, junk: bytes) -> None:
    decode, _ = doors[data.draw(st.sampled_from(sorted(doors)))]
    try:
        decode(junk)
    except Malformed:
        return


def test_a_place_is_of_the_key_and_what_admitted_it() -> None:
    agent = Signer(bytes(32)).agent
    place = witness_place(agent, proof_digest(b"proof"))
    core = core_of(agent + core_of(b"proof"))
    assert place == int.from_bytes(location_of(core), "big")
    assert place != witness_place(agent, proof_digest(b"another proof"))
    assert proof_digest(None) == proof_digest(b"")


def test_members_stand_once_and_in_order() -> None:
    one, two, author = (Signer(bytes([number]) * 32).agent for number in range(3))
    members = tuple(sorted((one, two)))
    assert check_members(members, author) == members
    for wrong in (members[::-1], (one, one), (author,), (b"x" * 39,)):
        with pytest.raises(Malformed):
            check_members(wrong, author)
    assert View(author, 0, members).digest != View(author, 1, members).digest
