"""The membrane: a chain of vouchers from a steward to the agent, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.errors import Malformed
from ioe_node.hdi import Invalid, Missing, Valid, holders_digest
from ioe_node.model.codec import encode
from ioe_node.model.hashes import action_hash, dna_hash
from zomes.community.coordinator import role_of
from zomes.community.integrity import (
    VOUCHERS_MAX,
    Invitation,
    SignedVoucher,
    Voucher,
    Written,
    decode_proof,
    encode_proof,
    recovery_of,
    succeed,
    successor_message,
    vouch,
)

ELSEWHERE = dna_hash(b"another network")
NAMED = Invalid("only the key-holders who are named for an agent make its successor")


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


def successor(
    neighbourhood: Any, old: Any, new: Any, holders: Any, *places: int, digest: bytes = b""
) -> SignedVoucher:
    """The key-holders' voucher for `new` as `old`'s successor."""
    voucher = Voucher(neighbourhood.rules.hash, new.agent, old.agent, "successor", digest)
    consents = holders.consent(successor_message(voucher, holders.shown), *places)
    return decode_proof(succeed(None, voucher, holders.shown, consents))[0]


def test_a_successor_may_do_what_its_predecessor_may(
    found_neighbourhood: Any, new_holders: Any
) -> None:
    holders = new_holders(1, 1)
    digest = holders_digest(holders.shown)
    neighbourhood = found_neighbourhood(recovery=(digest,))
    steward, member, device = neighbourhood.steward, *map(neighbourhood.author, (2, 3))
    heirs = [neighbourhood.author(number) for number in (10, 11)]
    voucher = neighbourhood.voucher
    steward_by = successor(neighbourhood, steward, heirs[0], holders, 0)
    invited = voucher(member.agent, by=heirs[0], recovery=digest)
    member_by = successor(neighbourhood, member, heirs[1], holders, 0, digest=digest)
    claimed = voucher(device.agent, by=heirs[1], role="device")
    whole = (steward_by, invited, member_by, claimed)
    ranks = ["steward", "member", "member", "device"]
    stood = [steward, member, member, member]
    agents = [heirs[0], member, heirs[1], device]
    for length, agent in enumerate(agents, 1):
        proof = encode_proof(whole[:length])
        assert neighbourhood.dna.admits(agent.agent, proof) is Valid
        assert role_of(proof) == ranks[length - 1]
        assert neighbourhood.dna.sponsor(agent.agent, proof) == stood[length - 1].agent
    late = neighbourhood.author(20)
    roles = ("member", "device", "successor")
    # Not even its own next key: whoever takes a device would be in for ever.
    for by, role in ((heirs[1], "member"), *((device, role) for role in roles)):
        vouchers = whole[: agents.index(by) + 1]
        wrong = (*vouchers, voucher(late.agent, by=by, role=role))
        assert isinstance(admits(neighbourhood, late.agent, *wrong), Invalid)


def test_a_chain_of_vouchers_has_an_end(neighbourhood: Any, new_holders: Any) -> None:
    holders, by = new_holders(1, 1), neighbourhood.author(100)
    digest = holders_digest(holders.shown)
    vouchers = [neighbourhood.voucher(by.agent, recovery=digest)]
    for number in range(101, 100 + VOUCHERS_MAX):
        new = neighbourhood.author(number)
        vouchers.append(successor(neighbourhood, by, new, holders, 0, digest=digest))
        by = new
    assert admits(neighbourhood, by.agent, *vouchers) is Valid
    new = neighbourhood.author(99)
    vouchers.append(successor(neighbourhood, by, new, holders, 0, digest=digest))
    assert isinstance(admits(neighbourhood, new.agent, *vouchers), Invalid)


def test_key_holders_alone_make_the_successor_of_whom_they_are_named_for(
    neighbourhood: Any, new_holders: Any
) -> None:
    member, new = neighbourhood.author(2), neighbourhood.author(3)
    five, others = new_holders(3, 5), new_holders(3, 5, first=200)
    digest = holders_digest(five.shown)
    invited = neighbourhood.voucher(member.agent, recovery=digest)

    def verdict(last: SignedVoucher) -> Any:
        return admits(neighbourhood, new.agent, invited, last)

    right = successor(neighbourhood, member, new, five, 0, 2, 4)
    assert verdict(right) is Valid
    assert verdict(neighbourhood.voucher(new.agent, by=member, role="successor")) == NAMED
    assert verdict(successor(neighbourhood, member, new, others, 0, 2, 4)) == NAMED
    assert verdict(SignedVoucher(right.body, bytes(64), right.recovery)) == NAMED
    for places in ((), (0, 1)):
        assert isinstance(verdict(successor(neighbourhood, member, new, five, *places)), Invalid)
    # What they said of one newcomer is nothing for another.
    forged = Voucher(neighbourhood.rules.hash, new.agent, member.agent, "successor", digest)
    assert isinstance(verdict(SignedVoucher(encode(forged), b"", right.recovery)), Invalid)
    device = neighbourhood.voucher(new.agent, by=member, role="device")
    assert verdict(device) is Valid  # for its devices it vouches itself


def test_key_holders_who_are_not_named_decide_nothing(neighbourhood: Any, new_holders: Any) -> None:
    member, new, five = neighbourhood.author(2), neighbourhood.author(3), new_holders(3, 5)
    invited = neighbourhood.voucher(member.agent)
    given = successor(neighbourhood, member, new, five, 0, 1, 2)
    own = neighbourhood.voucher(new.agent, by=member, role="successor")
    for last in (given, own):
        assert admits(neighbourhood, new.agent, invited, last) == NAMED
    short = neighbourhood.voucher(member.agent, recovery=b"short")
    assert isinstance(admits(neighbourhood, member.agent, short), Invalid)


def test_a_stewards_key_holders_are_named_by_the_network(
    found_neighbourhood: Any, new_holders: Any
) -> None:
    holders = new_holders(2, 3)
    place = found_neighbourhood(recovery=(holders_digest(holders.shown),))
    new, member = place.author(2), place.author(3)
    assert isinstance(admits(place, new.agent, place.voucher(new.agent, role="successor")), Invalid)
    right = successor(place, place.steward, new, holders, 0, 1)
    assert admits(place, new.agent, right) is Valid
    assert admits(place, member.agent, right, place.voucher(member.agent, by=new)) is Valid
    assert recovery_of(place.dna, place.steward.agent, None) == holders_digest(holders.shown)
    assert recovery_of(place.dna, member.agent, None) == b""


def test_a_vouch_continues_the_vouchers_own_proof(neighbourhood: Any) -> None:
    dna, steward, member, new = (
        neighbourhood.dna,
        neighbourhood.steward,
        *map(neighbourhood.author, (2, 3)),
    )
    digest = bytes(32)
    given = (steward.agent, None, member.agent, "member", steward.signer.sign)
    proof = vouch(dna, *given, neighbourhood.invitation(member.agent), digest)
    assert recovery_of(dna, member.agent, proof) == digest
    written = Written(3, member.genesis(proof)[-1].hash)
    given = (member.agent, proof, new.agent, "device", member.signer.sign)
    claimed = vouch(dna, *given, written)
    assert dna.admits(new.agent, claimed) is Valid
    assert recovery_of(dna, new.agent, claimed) == b""


def test_an_invitation_stands_on_the_chain_of_whoever_invites(neighbourhood: Any) -> None:
    owner, device, other = neighbourhood.member(2), *map(neighbourhood.author, (3, 4))
    invited = decode_proof(owner.chain[1].action.membrane_proof)
    written = neighbourhood.invitation(device.agent, by=owner)
    another = neighbourhood.invitation(other.agent, by=owner)
    elsewhere = neighbourhood.invitation(device.agent)

    def verdict(place: Written, before: Any = invited) -> Any:
        claimed = neighbourhood.voucher(device.agent, by=owner, role="device", written=place)
        package = neighbourhood.author(3).genesis(encode_proof((*before, claimed)))[1]
        assert neighbourhood.dna.admits(device.agent, package.action.membrane_proof) is Valid
        return neighbourhood.rules.validate_alone(package, neighbourhood.world)

    assert verdict(written) is Valid
    nowhere = Written(written.seq, action_hash(b"", owner.agent))
    assert verdict(nowhere) == Missing((nowhere.action,))
    misplaced = Invalid("an invitation that is not at that place of its author's chain")
    assert verdict(Written(written.seq - 1, written.action)) == misplaced
    assert verdict(elsewhere) == misplaced
    no_invitation = Written(2, owner.chain[2].hash)
    for place in (another, no_invitation):
        assert verdict(place) == Invalid(
            "an invitation whose author's chain names somebody else there"
        )
    # The device of a member who is in by nothing is in by nothing, too.
    unwritten = neighbourhood.voucher(owner.agent)
    assert isinstance(verdict(written, (unwritten,)), Missing)


def test_a_voucher_says_where_it_stands_and_a_successors_nothing(neighbourhood: Any) -> None:
    agent, place = neighbourhood.author(2).agent, Written(3, action_hash(b"", bytes(39)))
    for role, written in (("member", None), ("device", None), ("successor", place)):
        given = neighbourhood.voucher(agent, role=role, written=written)
        verdict = admits(neighbourhood, agent, given)
        assert verdict == Invalid(
            "an invitation that does not stand on the chain of whoever invites"
        )


def test_nobody_invites_itself(neighbourhood: Any) -> None:
    steward = neighbourhood.steward
    assert isinstance(neighbourhood.verdict(steward, Invitation(steward.agent)), Invalid)
