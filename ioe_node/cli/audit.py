"""`ioe credit audit`: all balances sum to zero and no energy is sold twice, or what breaks it."""

import sys
from pathlib import Path
from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    credits_text,
    home_of,
    json_option,
    plain,
    show,
    table,
)

NAMED_MAX = 1_000
"""Of what is wrong, and of what cannot be told; the rest is counted."""


@click.command()
@community_option
@json_option
@click.pass_context
def audit(context: click.Context, community: str | None, as_json: bool) -> None:
    """Read every chain of the community and prove that its books are right.

    All balances sum to zero; each settlement is on both chains and follows the one before it; of
    no reading more was sold than it exported.  What cannot be read is named.  The exit code is 0
    if all of it is proven, otherwise 1.
    """
    home = home_of(context)
    members: list[dict[str, Any]] = client.zome(home, community, "community", "members")
    audited = Audited(home, community)
    with click.progressbar(members, label="reading chains", file=sys.stderr) as chains:
        for each in chains:
            audited.walk(each["agent"])
    found = audited.result()
    show(found, as_json, lambda: _print(found))
    if not found["proven"]:
        context.exit(1)


class Audited:
    """What was found on the chains that were read so far."""

    def __init__(self, home: Path, community: str | None) -> None:
        self._home, self._community = home, community
        self._balances: dict[bytes, int] = {}
        self._over: set[bytes] = set()
        self._settlements = 0
        self._counts = {"faults": 0, "unchecked": 0}
        self._named: dict[str, list[dict[str, Any]]] = {"faults": [], "unchecked": []}

    def walk(self, agent: bytes) -> None:
        """Read one chain, page by page."""
        from_seq: int | None = 0
        trail: dict[str, Any] | None = None
        while from_seq is not None:
            asked = {"agent": agent, "from_seq": from_seq, "trail": trail}
            page = client.zome(self._home, self._community, "currency", "audit_page", **asked)
            from_seq, trail = page["next_seq"], page["trail"]
            self._settlements += page["settlements"]
            if page["over"] is not None:
                self._over.add(page["over"])
            for kind in self._named:
                for each in page[kind]:
                    self._note(kind, {"agent": agent, **each})
            if page["unread"]:
                why = "not all of this chain could be read; try again later"
                self._note("unchecked", {"agent": agent, "action": None, "why": why})
            self._balances[agent] = page["trail"]["balance_micro"]

    def _note(self, kind: str, what: dict[str, Any]) -> None:
        self._counts[kind] += 1
        if len(self._named[kind]) < NAMED_MAX:
            self._named[kind].append(what)

    def result(self) -> dict[str, Any]:
        """The balances, their sum, and what is wrong or could not be checked."""
        balances: list[dict[str, Any]] = [
            {"agent": agent, "balance_micro": micro}
            for agent, micro in self._balances.items()
            if agent not in self._over
        ]
        sum_micro = sum(each["balance_micro"] for each in balances)
        return {
            "proven": not sum_micro and not any(self._counts.values()),
            "balances": balances,
            "sum_micro": sum_micro,
            "settlements": self._settlements,
            "faults": self._named["faults"],
            "faults_count": self._counts["faults"],
            "unchecked": self._named["unchecked"],
            "unchecked_count": self._counts["unchecked"],
        }


def _print(found: dict[str, Any]) -> None:
    rows = [
        (plain(each["agent"])[:13], credits_text(each["balance_micro"]))
        for each in found["balances"]
    ]
    table("", ("agent", "balance"), rows)
    console.print(
        f"sum {credits_text(found['sum_micro'])}, {found['settlements']} halves of settlements read"
    )
    for kind, said in (("faults", "wrong"), ("unchecked", "not checked")):
        for each in found[kind]:
            at = "its chain" if each["action"] is None else plain(each["action"])
            console.print(f"{said}: {plain(each['agent'])[:13]}, {at}: {each['why']}")
        left = found[f"{kind}_count"] - len(found[kind])
        if left:
            console.print(f"{said}: {left} more")
    console.print(
        "proven: balances sum to zero and no energy was sold twice"
        if found["proven"]
        else "not proven"
    )
