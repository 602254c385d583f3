"""From 24 words on a new machine: which devices are ours, and through them our communities.

Whoever is near or named as a bootstrap and proves a key that our words give is a device of ours;
it tells which communities it is in and what admitted us there.  The chain itself comes back from
those who hold it (`workflows.restore`).  Nobody else is asked or believed.
"""

from typing import TYPE_CHECKING

import trio

from ioe_node.conductor import communities, keytree, owner_calls, succession
from ioe_node.conductor.home import State
from ioe_node.conductor.invitation import decode_invitation
from ioe_node.errors import CallError, IoeError
from ioe_node.hdi import AgentPubKey
from ioe_node.model.signing import Signer
from ioe_node.net.peer_id import split_address
from ioe_node.workflows.space import log

if TYPE_CHECKING:
    from ioe_node.conductor.conductor import Conductor

LOOK_EVERY_S = 5.0
DEVICES_KNOWN_MAX = 256


def devices_of(portfolios: list[bytes]) -> frozenset[AgentPubKey]:
    """The keys of the first devices of each portfolio; takes a twentieth of a second each."""
    return frozenset(
        keytree.device_agent(keytree.device_seed(portfolio, number))
        for portfolio in portfolios
        for number in range(DEVICES_KNOWN_MAX)
    )


async def look_for_communities(conductor: "Conductor") -> None:
    """Ask each device of ours that can be found what it is in, and be in it again; for ever."""
    portfolios = keytree.portfolios_of(conductor.keystore.secrets)
    ours = await trio.to_thread.run_sync(devices_of, portfolios)
    named = [split_address(text)[0] for text in conductor.config.network.bootstrap]
    while True:
        near = [card.agent for card in conductor.meeting.cards()]
        for device in sorted(ours & {*near, *named}):
            try:
                await _ask(conductor, device)
            except IoeError as error:
                log.info("asking a device of ours for its communities: %s", error)
        await trio.sleep(LOOK_EVERY_S)


async def _ask(conductor: "Conductor", device: AgentPubKey) -> None:
    answer = await owner_calls.ask(conductor, device, owner_calls.ShowInvitations())
    if isinstance(answer, owner_calls.Succeeded):
        owner = AgentPubKey(answer.owner)
        if conductor.succeeded_by != owner:
            conductor.succeeded_by = owner
            conductor.alert({"kind": "succeeded", "owner": owner})
    elif isinstance(answer, owner_calls.Shown):
        for data in answer.invitations:
            await communities.join_again(conductor, decode_invitation(data))


def check_root(conductor: "Conductor", root: bytes) -> None:
    """Raise `CallError` unless these words are this node's."""
    if keytree.portfolio_seed(root) != keytree.portfolios_of(conductor.keystore.secrets)[0]:
        raise CallError("these are the words of another identity than this node's")


async def recover(conductor: "Conductor", root: bytes) -> dict[str, object]:
    """Take our next key and have it revoke the one that a lost machine holds.

    Where our devices know a later key of ours already, that one is taken up first.
    Raises `CallError` for other words than ours, or while no community has been found.
    """
    generation = keytree.generation_of(conductor.keystore.secrets)
    check_root(conductor, root)
    said, conductor.succeeded_by = conductor.succeeded_by, None
    later = 0 if said is None else await trio.to_thread.run_sync(_generation, root, said)
    if later > generation:
        generation = later
        # First forgotten: what invites the key before would keep the later one out for ever.
        conductor.home.keep(State(recovering=True))
        apps = keytree.app_seeds(conductor.keystore.secrets)
        conductor.keystore.replace({**apps, **keytree.owner_secrets(root, generation)})
        conductor.rebirth()
        return {"moved": True, "generation": generation}
    if not conductor.home.invitations():
        raise CallError(
            "no community of ours is found yet; have a device of ours near, or name it under "
            "'bootstrap' in the config, and see 'ioe community list'"
        )
    conductor.holder = Signer(keytree.revocation_seed(root))
    secrets = keytree.owner_secrets(root, generation + 1)
    agent = succession.turn(conductor, secrets, revoke=True)
    return {"moved": False, "generation": generation + 1, "agent": agent}


def _generation(root: bytes, owner: AgentPubKey) -> int:
    """Which of our keys this is, 0 for none of them.

    A thief of the lost machine can speak for a device of ours, and must not keep us from ending
    its key by what that device says.
    """
    for generation in range(keytree.GENERATIONS_MAX):
        if Signer(keytree.owner_agent_seed(root, generation)).agent == owner:
            return generation
    return 0
