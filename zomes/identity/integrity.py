"""Enrolments by owners, acknowledged by devices (I-032, I-041, I-107)."""

from dataclasses import dataclass
from typing import Literal

from ioe_node.hdi import (
    ActionHash,
    AgentPubKey,
    CreateOp,
    IntegrityZome,
    Invalid,
    LinkOp,
    Timestamp,
    Valid,
    ValidationHost,
    Verdict,
)

NAME_CHARS_MAX = 64

zome = IntegrityZome("identity")

AT_WORK = zome.link_type("at_work")
"""From the network's own hash to the acknowledgement of each device that has an owner."""


@zome.entry_type
@dataclass(frozen=True)
class Enrolment:
    """The author owns `device`, of this kind, under this name."""

    device: AgentPubKey
    kind: Literal["consumer", "generator", "storage", "monitor"]
    name: str
    claimed_at: Timestamp


@zome.entry_type
@dataclass(frozen=True)
class Acknowledgement:
    """The author is a device and knows its owner, by the owner's enrolment of it."""

    owner: AgentPubKey
    enrolment: ActionHash


def _plain(text: str) -> bool:
    """No control characters and none that turn the direction of text.

    By fixed code points: what Python calls printable differs from release to release, and a
    rule must not.
    """
    return not any(
        code < 0x20
        or 0x7F <= code <= 0x9F
        or code in (0x200E, 0x200F)
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        for code in map(ord, text)
    )


@zome.validate_create
def another_device_by_name(entry: Enrolment, op: CreateOp, host: ValidationHost) -> Verdict:
    if entry.device == op.action.author:
        return Invalid("an agent cannot own itself")
    if not 1 <= len(entry.name) <= NAME_CHARS_MAX or not _plain(entry.name):
        return Invalid(f"a device's name has 1 to {NAME_CHARS_MAX} printable characters")
    return Valid


@zome.validate_create
def the_owner_enrolled_us(entry: Acknowledgement, op: CreateOp, host: ValidationHost) -> Verdict:
    found = host.must_get_record(entry.enrolment)
    if found.action.author != entry.owner or not isinstance(found.entry, Enrolment):
        return Invalid("an acknowledgement of something that is no enrolment by that owner")
    if found.entry.device != op.action.author:
        return Invalid("an enrolment of another device")
    if host.must_get_previous(op, Acknowledgement) is not None:
        return Invalid("this device has acknowledged an owner already")
    return Valid


@zome.validate_link(AT_WORK)
def a_device_says_so_itself(op: LinkOp, host: ValidationHost) -> Verdict:
    said = host.must_get_record(ActionHash(op.link.target))
    if op.action.author != op.link.author or said.action.author != op.link.author:
        return Invalid("only a device says that it is at work, or that it is no more")
    return Valid if isinstance(said.entry, Acknowledgement) else Invalid("at work without an owner")
