"""Verify every chain in a node's directory from its files alone."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from ioe_node.conductor.home import Home
from ioe_node.core.chain import Head, StoredRow, verify_chain
from ioe_node.errors import IoeError, LocalError
from ioe_node.hdi import AgentPubKey, DnaHash
from ioe_node.store.store import Store


def verify_home(home: Home) -> list[dict[str, Any]]:
    """(community, agent, actions, fault or None) of every chain in every cell's file."""
    if not home.path.is_dir():
        raise LocalError(f"{home.path} holds no node; 'ioe init' makes one")
    found = []
    for invitation in home.invitations():
        pattern = home.store_path(invitation, AgentPubKey(invitation.dna_hash)).name[:20]
        for path in sorted((home.path / "cells").glob(f"{pattern}*.sqlite")):
            try:
                store = Store(path)
            except IoeError as error:
                found.append(_row(invitation.seed, None, 0, str(error)))
                continue
            try:
                for author in store.authors():
                    fault, actions = _verify(store, author, DnaHash(invitation.dna_hash))
                    found.append(_row(invitation.seed, author, actions, fault))
            except IoeError as error:
                found.append(_row(invitation.seed, None, 0, str(error)))
            finally:
                store.close()
    return found


def verify_stored(
    store: Store, author: AgentPubKey, dna: DnaHash, each: Callable[[], None] = lambda: None
) -> Head | None:
    """The head of a stored chain that verifies; raises `ChainBroken`.

    `each()` is called before each row and may raise to end it.
    """
    # An unfinished read must not outlive the file that it reads.
    with closing(store.rows(author)) as rows:

        def watched() -> Iterator[StoredRow]:
            for row in rows:
                each()
                yield row

        return verify_chain(watched(), author, dna)


def _verify(store: Store, author: AgentPubKey, dna: DnaHash) -> tuple[str | None, int]:
    try:
        head = verify_stored(store, author, dna)
    except IoeError as error:
        return str(error), 0
    return None, 0 if head is None else head.seq + 1


def _row(
    community: str, agent: AgentPubKey | None, actions: int, fault: str | None
) -> dict[str, Any]:
    return {"community": community, "agent": agent, "actions": actions, "fault": fault}
