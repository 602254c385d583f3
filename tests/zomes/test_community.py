"""The membrane: a chain of vouchers from a steward to the agent, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.errors import Malformed
from ioe_node.hdi import Invalid, Valid
from ioe_node.model.codec import encode
from ioe_node.model.hashes import dna_hash
from zomes.community.integrity import SignedVoucher, decode_proof, encode_proof

ELSEWHERE = dna_hash(b"another network")


def admits(neighbourhood: Any, agent: bytes, *vouchers: SignedVoucher) -> Any:
    return neighbourhood.dna.admits(agent, encode_proof(vouchers))


def test_stewards_need_no_proof_and_everyone_else_does(neighbourhood: Any) -> None:
    newcomer = neighbourhood.author(2)
    assert neighbourhood.dna.admits(neighbourhood.steward.agent, None) is Valid
    for proof in (None, b""):
        verdict = neighbourhood.dna.admits(newcomer.agent, proof)
        assert isinstance(verdict, Invalid)
        assert "ioe community invite" in verdict.reason


def test_members_are_invited_and_vouch_for_their_devices(neighbourhood: Any) -> None:
    member, device = neighbourhood.author(2), neighbourhood.author(3)
    invited = neighbourhood.voucher(member.agent)
    claimed = neighbourhood.voucher(device.agent, by=member, role="device")
    assert admits(neighbourhood, member.agent, invited) is Valid
    assert admits(neighbourhood, device.agent, invited, claimed) is Valid


def test_what_does_not_lead_from_a_steward_to_the_agent(neighbourhood: Any) -> None:
    member, device, other = (neighbourhood.author(number) for number in (2, 3, 4))
    voucher = neighbourhood.voucher
    invited = voucher(member.agent)
    claimed = voucher(device.agent, by=member, role="device")
    refused = {
        "no vouchers": (device.agent, ()),
        "another's": (other.agent, (invited,)),
        "by no steward": (other.agent, (voucher(other.agent, by=member),)),
        "of another network": (member.agent, (voucher(member.agent, network=ELSEWHERE),)),
        "the second of another network": (
            device.agent,
            (invited, voucher(device.agent, by=member, role="device", network=ELSEWHERE)),
        ),
        "member by member": (other.agent, (invited, voucher(other.agent, by=member))),
        "by somebody else": (
            device.agent,
            (invited, voucher(device.agent, by=other, role="device")),
        ),
        "in the wrong order": (device.agent, (claimed, invited)),
        "by a device": (
            other.agent,
            (invited, claimed, voucher(other.agent, by=device, role="device")),
        ),
    }
    for why, (agent, vouchers) in refused.items():
        assert isinstance(admits(neighbourhood, agent, *vouchers), Invalid), why


def test_forged_vouchers(neighbourhood: Any) -> None:
    member, thief = neighbourhood.author(2), neighbourhood.author(3)
    body = neighbourhood.voucher(member.agent).body
    for forged in (
        SignedVoucher(body, thief.signer.sign(b"ioe/voucher/1" + body)),
        SignedVoucher(body, neighbourhood.steward.signer.sign(body)),
        SignedVoucher(body, bytes(64)),
        SignedVoucher(body, b""),
    ):
        verdict = admits(neighbourhood, member.agent, forged)
        assert verdict == Invalid("an invitation whose signature does not fit")


def test_the_chain_of_a_stranger_is_refused_at_its_second_action(neighbourhood: Any) -> None:
    stranger = neighbourhood.author(9)
    dna, package, _ = stranger.genesis(None)
    neighbourhood.world.keep(dna)
    assert isinstance(neighbourhood.world.judge(package), Invalid)


def test_a_chain_with_a_junk_proof_is_invalid_and_no_more(neighbourhood: Any) -> None:
    stranger = neighbourhood.author(9)
    dna, package, _ = stranger.genesis(b"\xc1 junk")
    neighbourhood.world.keep(dna)
    assert isinstance(neighbourhood.world.judge(package), Invalid)


@given(st.data())
def test_any_proof_is_decoded_or_malformed(data: Any) -> None:
    whole = encode((SignedVoucher(b"body", bytes(64)),))
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    for proof in (bytes(flipped), whole[:at], whole + b"\0", data.draw(st.binary(max_size=60))):
        try:
            vouchers = decode_proof(proof)
        except Malformed:
            continue
        assert encode_proof(vouchers) == proof


def test_a_flipped_bit_never_admits(neighbourhood: Any) -> None:
    member = neighbourhood.author(2)
    whole = encode_proof((neighbourhood.voucher(member.agent),))
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        try:
            verdict = neighbourhood.dna.admits(member.agent, bytes(flipped))
        except Malformed:
            continue
        assert isinstance(verdict, Invalid), at


@pytest.mark.parametrize("role", ["owner", "", 1])
def test_a_role_nobody_has(neighbourhood: Any, role: Any) -> None:
    member = neighbourhood.author(2)
    with pytest.raises(Malformed):
        admits(neighbourhood, member.agent, neighbourhood.voucher(member.agent, role=role))


def test_a_device_is_in_by_its_owners_word(neighbourhood: Any) -> None:
    dna, steward = neighbourhood.dna, neighbourhood.steward
    owner, device = neighbourhood.author(5), neighbourhood.author(6)
    proof = encode_proof((neighbourhood.voucher(owner.agent),))
    assert dna.sponsor(steward.agent, None) == steward.agent
    assert dna.sponsor(owner.agent, proof) == owner.agent
    second = neighbourhood.voucher(device.agent, by=owner, role="device")
    both = encode_proof((neighbourhood.voucher(owner.agent), second))
    assert dna.sponsor(device.agent, both) == owner.agent
