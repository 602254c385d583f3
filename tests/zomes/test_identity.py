"""Owners enrol devices by name; a device acknowledges the owner who enrolled it, once."""

from typing import Any

import pytest

from ioe_node.hdi import Invalid, Missing, Timestamp, Valid
from ioe_node.model.hashes import ActionHash, action_hash
from zomes.identity.integrity import Acknowledgement, Enrolment


def enrolment(device: Any, name: str = "battery") -> Enrolment:
    return Enrolment(device.agent, "storage", name, Timestamp(1))


def test_both_say_it(neighbourhood: Any) -> None:
    owner, device = neighbourhood.member(2), neighbourhood.member(3)
    word = neighbourhood.create(owner, enrolment(device))
    neighbourhood.create(device, Acknowledgement(owner.agent, word.hash))
    again = neighbourhood.verdict(device, Acknowledgement(owner.agent, word.hash))
    assert again == Invalid("this device has acknowledged an owner already")


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "\x1b[2J"])
def test_names_are_short_and_printable(neighbourhood: Any, name: str) -> None:
    owner, device = neighbourhood.member(2), neighbourhood.member(3)
    assert isinstance(neighbourhood.verdict(owner, enrolment(device, name)), Invalid)
    assert neighbourhood.verdict(owner, enrolment(device, "x" * 64)) is Valid


def test_nobody_owns_itself(neighbourhood: Any) -> None:
    owner = neighbourhood.member(2)
    assert isinstance(neighbourhood.verdict(owner, enrolment(owner)), Invalid)


def test_a_device_acknowledges_what_its_owner_said(neighbourhood: Any) -> None:
    owner, device, other = (neighbourhood.member(number) for number in (2, 3, 4))
    word = neighbourhood.create(owner, enrolment(device))
    verdict = neighbourhood.verdict
    assert isinstance(verdict(other, Acknowledgement(owner.agent, word.hash)), Invalid)
    assert isinstance(verdict(device, Acknowledgement(other.agent, word.hash)), Invalid)
    key = ActionHash(owner.chain[2].hash)
    assert isinstance(verdict(device, Acknowledgement(owner.agent, key)), Invalid)
    unknown = action_hash(b"not here", owner.agent)
    assert verdict(device, Acknowledgement(owner.agent, unknown)) == Missing((unknown,))
