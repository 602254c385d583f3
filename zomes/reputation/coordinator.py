"""Gather the evidence on an agent, a little of each kind, and weigh it with the caller's weights.

Read are the newest of its chain, the links at its key, the claims of issuers that the weights
name, the warrants kept here, and our own settlements: so a view of many agents costs as much
for each as for one, whatever these have heaped up.
"""

from typing import Any

from ioe_node.hdk import AgentPubKey, CoordinatorZome, Host, PeerError, TransportError
from zomes.reputation.integrity import zome as integrity
from zomes.reputation.scoring import ClaimSeen, Seen, Weights, score, weigh

AGENTS_MAX = 32
CLAIMS_MAX = 32
SETTLEMENTS_READ = 1_000

zome = CoordinatorZome(integrity)


async def _dealings(host: Host) -> dict[AgentPubKey, int]:
    """How many of our newest settlements were with whom; from our own chain alone."""
    settled = await host.call("currency", "history", {"limit": SETTLEMENTS_READ})
    counts: dict[AgentPubKey, int] = {}
    for each in settled:
        counts[each["with"]] = counts.get(each["with"], 0) + 1
    return counts


async def _seen(host: Host, agent: AgentPubKey, weights: Weights, settlements: int) -> Seen:
    presence = await host.call("metering", "presence", {"device": agent})
    credentials = await host.call("claims", "credentials", {"device": agent})
    issuers = tuple(each.issuer for each in weights.issuers)
    asked = {"subject": agent, "issuers": issuers, "limit": CLAIMS_MAX}
    claims = []
    for each in await host.call("claims", "about", asked) if issuers else []:
        if each["standing"] == "stands" and each.get("names_subject", True):
            convicted = bool(await host.convictions(each["issuer"]))
            seen = ClaimSeen(each["claim"], each["issuer"], each.get("kind", ""), convicted)
            claims.append(seen)
    return Seen(
        measured=presence["measured"] if presence else 0,
        intervals=presence["intervals"] if presence else 0,
        settlements=settlements,
        credentials=tuple(
            each["application"] for each in credentials if each["standing"] == "approved"
        )[:1],
        warrants=tuple((each.hash, each.kind) for each in await host.convictions(agent)),
        claims=tuple(claims),
    )


@zome.function
async def explain(host: Host, agent: AgentPubKey, weights: Weights) -> dict[str, Any]:
    """Our view of one agent: its score, and each piece of evidence that adds up to it."""
    dealings = await _dealings(host)
    return await _view(host, agent, weights, dealings.get(agent, 0))


async def _view(
    host: Host, agent: AgentPubKey, weights: Weights, settlements: int
) -> dict[str, Any]:
    pieces = weigh(await _seen(host, agent, weights, settlements), weights)
    return {
        "agent": agent,
        "score": score(pieces),
        "evidence": [
            {
                "kind": piece.kind,
                "what": piece.what,
                "weight": piece.weight,
                "contribution": piece.contribution,
                "source": piece.source,
            }
            for piece in pieces
        ],
    }


@zome.function
async def show(host: Host, weights: Weights, limit: int = AGENTS_MAX) -> dict[str, Any]:
    """Our views of others, best first: `AGENTS_MAX` at most, those that we deal with first.

    `score` is None, and `why` says it, for one who cannot be read now.
    """
    dealings = await _dealings(host)
    us = host.agent_info().agent
    others = [agent for agent in await host.agents() if agent != us]
    others.sort(key=lambda agent: (-dealings.get(agent, 0), agent))
    chosen = others[: max(0, min(limit, AGENTS_MAX))]
    views = []
    for agent in chosen:
        try:
            view = await _view(host, agent, weights, dealings.get(agent, 0))
            found = {"score": view["score"], "pieces": len(view["evidence"]), "why": ""}
        except (PeerError, TransportError) as error:
            found = {"score": None, "pieces": 0, "why": str(error)}
        views.append({"agent": agent, **found})
    views.sort(key=lambda view: (view["score"] is None, -(view["score"] or 0), view["agent"]))
    return {"views": views, "left_out": len(others) - len(chosen)}
