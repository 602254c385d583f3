"""Certificates from others: learn that an action is final without its author's whole chain.

A certificate proves itself, so it may come from anybody; with it come the actions, unsealed,
between the one asked for and the one that it names.

The first of a network has nobody before it and is its own witness at first, so whoever steals its
key could sign for itself for ever: past the end of a revoked key its own word counts for nothing.
"""

from collections.abc import Iterable
from functools import partial

import trio

from ioe_node.core.lineage import check_certificate, check_links, outlived, plausible
from ioe_node.errors import Malformed
from ioe_node.hdi import ActionHash, AgentPubKey
from ioe_node.model.codec import encode
from ioe_node.model.finality import LINEAGE_BYTES_MAX, open_standing
from ioe_node.net.messages import Answer, Certified, GetCertificate
from ioe_node.workflows.space import Space, log
from ioe_node.workflows.standing import admits, take_standings

LEARN_TIMEOUT_S = 2.0
LEARNT_AT_ONCE_MAX = 8


async def learn(space: Space, actions: Iterable[ActionHash], peers: Iterable[AgentPubKey]) -> None:
    """Ask peers, the first first, for what shows these actions to be final; for a little while."""
    asked, room = list(peers), trio.CapacityLimiter(LEARNT_AT_ONCE_MAX)

    async def one(action: ActionHash) -> None:
        async with room:
            if not await space.run(space.witness_rows.is_final, action):
                await _learn(space, action, list(asked))

    with trio.move_on_after(LEARN_TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            for action in actions:
                nursery.start_soon(one, action)


async def _learn(space: Space, action: ActionHash, peers: list[AgentPubKey]) -> None:
    """From the first of these who has a certificate that stands."""

    def take(answer: Answer) -> Certified | None:
        if not isinstance(answer, Certified):
            raise Malformed("a certificate asked for, and something else answered")
        return None if answer.certificate is None else answer

    while peers:
        found = await space.ask_first_of(peers, GetCertificate(action), take, LEARN_TIMEOUT_S)
        if found is None:
            return
        giver, shown = found
        peers.remove(giver)
        try:
            if await _keep(space, action, shown):
                space.validation_bell.ring()
                return
        except Malformed as error:
            space.charge(giver, str(error))


async def _keep(space: Space, action: ActionHash, shown: Certified) -> bool:
    """Check and keep a certificate; False for one that counts for nothing by what we know.

    Raises `Malformed` for what nobody should have shown.
    """
    certificate = shown.certificate
    assert certificate is not None, "one was shown"
    lineage = certificate.lineage
    author = open_standing(lineage.standing, space.dna).agent
    if len(encode(shown.links)) > LINEAGE_BYTES_MAX:
        raise Malformed("more links than are kept")
    await space.run(check_links, certificate, shown.links, action, author)
    await take_standings(space, (lineage.standing, *lineage.founders))
    known = tuple(space.seats.values())
    if not await space.run(plausible, space.dna, lineage, known):
        log.info("a certificate whose founders are others than we know")
        return False
    admitted = partial(admits, space)
    view = await space.run(check_certificate, space.dna, certificate, known, admitted)
    ours = (space.witness_rows.newest(author), space.witness_rows.duty(author))
    if any(each is not None and outlived(certificate, each.lineage) for each in ours):
        log.info("a certificate by witnesses that had retired")
        return False
    if view.members == (author,) and certificate.seq > space.ended.get(author, certificate.seq):
        log.info("a certificate that a revoked key has given to itself")
        return False
    await space.run(space.witness_rows.save_proved, action, author, (certificate, shown.links))
    return True
