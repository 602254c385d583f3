"""Peer routing for any libp2p peer: by kad-dht it finds our members, and is found through us.

Whoever asks is no member by asking, and gets addresses only: nothing that is on a chain.  A
member's word is not needed either: a member is passed on by its own signed info.
"""

from ioe_node.errors import PeerError
from ioe_node.hdi import AgentPubKey
from ioe_node.net.foreign_peers import ForeignPeers, closest_to
from ioe_node.net.peer_id import peer_id_bytes
from ioe_node.net.transport import CLOSEST_PEERS_MAX, Located, Routing
from ioe_node.workflows.space import Space


def routing_of(space: Space) -> Routing:
    """What one cell answers to kad-dht; it remembers foreign peers for as long as it is kept."""
    foreign = ForeignPeers()

    def seen(peer: AgentPubKey, addresses: tuple[str, ...]) -> None:
        if peer in space.blocked:
            raise PeerError("you are warranted in this network")
        if peer not in space.admitted:
            foreign.seen(peer, addresses, space.clock.now_us())

    def closest(key: bytes, asker: AgentPubKey) -> list[Located]:
        known = dict(foreign.known(space.clock.now_us()))
        known.update((agent, space.peers.addresses(agent)) for agent in space.others())
        if key == peer_id_bytes(space.agent):  # as kad-dht has it: ourselves only when asked for
            known[space.agent] = space.transport.addresses()
        dialable = [one for one in known.items() if one[1] and one[0] != asker]
        return closest_to(key, dialable, CLOSEST_PEERS_MAX)

    return Routing(closest, seen)
