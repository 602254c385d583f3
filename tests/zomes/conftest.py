"""Owners, devices and key-holders in a network in memory."""

from typing import Any

import pytest

from ioe_node.hdi import Timestamp
from ioe_node.model.action import CloseChain
from zomes.identity.integrity import Acknowledgement, Enrolment, Keyset, message_of


class Household:
    """A neighbourhood, and what owners and devices commonly say in it."""

    def __init__(self, neighbourhood: Any, new_holders: Any) -> None:
        self.place = neighbourhood
        self.holders = new_holders

    def owner(self, number: int, threshold: int = 1, keys: int = 1) -> tuple[Any, Any]:
        """A member, and the key-holders of its first keyset."""
        owner, holders = self.place.member(number), self.holders(threshold, keys, number * 1_000)
        self.place.create(owner, self.keyset(holders))
        return owner, holders

    def keyset(self, holders: Any, follows: Any = None, consents: tuple[Any, ...] = ()) -> Keyset:
        """These key-holders' keyset."""
        return Keyset(holders.shown.threshold, holders.shown.keys, follows, consents)

    def claimed(self, owner: Any, number: int) -> tuple[Any, Any]:
        """A device of an owner's, and the record by which it says so."""
        device = self.place.member(number)
        return device, self.acknowledge(device, owner)

    def acknowledge(self, device: Any, owner: Any) -> Any:
        """The owner enrols the device, which acknowledges it."""
        return self.place.create(device, self.acknowledgement(device, owner))

    def acknowledgement(self, device: Any, owner: Any) -> Acknowledgement:
        """What a device says of an owner that now enrols it."""
        word = self.place.create(owner, Enrolment(device.agent, "storage", "it", Timestamp(1)))
        return Acknowledgement(owner.agent, word.hash)

    def close(self, author: Any, target: Any) -> Any:
        """`author` closes its chain for the agent `target`."""
        return self.place.write(author, CloseChain, new_target=target.agent)

    def consents(self, deed: Any, keyset: Any, holders: Any, *places: int) -> tuple[Any, ...]:
        """The consents of the holders at these places to a deed, under a keyset's record."""
        message = message_of(self.place.rules.hash, keyset.hash, deed)
        return tuple(holders.consent(message, *places))


@pytest.fixture
def household(neighbourhood: Any, new_holders: Any) -> Household:
    """One in a network with a steward."""
    return Household(neighbourhood, new_holders)
