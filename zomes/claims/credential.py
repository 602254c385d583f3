"""A device's credential: its owner applies, approvers approve, a quorum of them makes it one.

There is no token that could be passed on: the credential is the application, about one key, and
the approvals of it that stand.  An approver who withdraws its own takes its voice away again.
"""

from collections.abc import Sequence
from typing import Any

from ioe_node.hdk import ActionHash, AgentPubKey, CallError, Host, TransportError
from zomes.claims.coordinator import (
    Linked,
    linked,
    publish,
    read,
    replace_own,
    said_at,
    standing_of,
    zome,
)
from zomes.claims.integrity import Application, Approval, Attribute, Status

ACKNOWLEDGED_WITHIN_PAGES = 4
OF_A_KIND_MAX = 16


async def _acknowledgement(host: Host, device: AgentPubKey) -> ActionHash:
    """A device's word for its owner, which it gives when its chain begins."""
    from_seq = 0
    for _ in range(ACKNOWLEDGED_WITHIN_PAGES):
        page = await host.activity(device, from_seq)
        for found in page:
            if getattr(found.action, "entry_type", "") == "identity.Acknowledgement":
                return found.hash
        if not page:
            break
        from_seq = page[-1].action.action_seq + 1
    raise TransportError("that device has named no owner yet, or cannot be read; try again")


@zome.function
async def apply(host: Host, device: AgentPubKey, attributes: tuple[Attribute, ...]) -> ActionHash:
    """Apply for a credential of a device of ours."""
    ordered = tuple(sorted(attributes, key=lambda attribute: attribute.name))
    acknowledged = await _acknowledgement(host, device)
    return await publish(host, Application(device, acknowledged, ordered))


@zome.function
async def approve(host: Host, application: ActionHash) -> ActionHash:
    """Approve an application, as one of the community's approvers."""
    found = await said_at(host, application)
    if not isinstance(found.entry, Application):
        raise CallError("that is no application; 'ioe credential show' lists a device's")
    return await publish(host, Approval(found.entry.subject, application))


@zome.function
async def set_status(
    host: Host, application: ActionHash, hardware: str | None = None, pool: str | None = None
) -> ActionHash:
    """Tell the state of a device that we applied for; what is not given stays as it was."""
    found = await said_at(host, application)
    if not isinstance(found.entry, Application):
        raise CallError("that is no application; 'ioe credential show' lists a device's")
    device = found.entry.subject
    before = await _status(host, await linked(host, device), device, application)
    status = Status(
        device,
        application,
        before.hardware if hardware is None else hardware,
        before.pool if pool is None else pool,
    )
    return await replace_own(host, status)


async def _status(
    host: Host, said: Sequence[Linked], device: AgentPubKey, application: ActionHash
) -> Status:
    for each in _of_kind(said, "Status"):
        found = await read(host, each, device)
        if found is not None and found.entry.application == application:
            told: Status = found.entry
            return told
    return Status(device, application, "", "")


def _of_kind(said: Sequence[Linked], kind: str) -> list[Linked]:
    return [each for each in said if each.kind == kind][:OF_A_KIND_MAX]


async def _approved_by(
    host: Host, said: Sequence[Linked], device: AgentPubKey
) -> dict[ActionHash, set[AgentPubKey]]:
    """For each application the approvers whose approval of it stands."""
    may = host.properties.approvers or host.properties.stewards
    approved: dict[ActionHash, set[AgentPubKey]] = {}
    for each in _of_kind([one for one in said if one.author in may], "Approval"):
        found = await read(host, each, device)
        if found is not None and await standing_of(host, found) == "stands":
            approved.setdefault(found.entry.application, set()).add(each.author)
    return approved


@zome.function
async def credentials(host: Host, device: AgentPubKey) -> list[dict[str, Any]]:
    """The newest applications for a device, who approved each, and whether that is enough.

    `standing` is "approved", "applied", "withdrawn", or "unconfirmed" when nobody who would know
    can be reached.
    """
    said = await linked(host, device)
    approved_by = await _approved_by(host, said, device)
    quorum = host.properties.approval_quorum
    listed = []
    for each in _of_kind(said, "Application"):
        found = await read(host, each, device)
        if found is None:
            continue
        approved = sorted(approved_by.get(each.target, set()))
        status = await _status(host, said, device, each.target)
        standing = await standing_of(host, found)
        if standing == "stands":
            standing = "approved" if len(approved) >= quorum else "applied"
        attributes = [{"name": one.name, "value": one.value} for one in found.entry.attributes]
        listed.append(
            {
                "application": each.target,
                "device": device,
                "owner": each.author,
                "attributes": attributes,
                "approved_by": approved,
                "quorum": quorum,
                "standing": standing,
                "hardware": status.hardware,
                "pool": status.pool,
            }
        )
    return listed
