"""Verify every chain in a node's directory from its files alone."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from ioe_node.conductor.home import Home
from ioe_node.core.chain import Head, StoredRow, verify_chain
from ioe_node.core.sys_validate import Rules
from ioe_node.errors import IoeError, LocalError
from ioe_node.hdi import AgentPubKey
from ioe_node.hdk import DnaDef
from ioe_node.store.store import Store


def verify_home(home: Home, known: dict[str, DnaDef]) -> list[dict[str, Any]]:
    """(community, agent, actions, fault or None) of every chain in every cell's file.

    `known` are the DNAs installed here, by name: their rules say whose seals a record needs.
    """
    if not home.path.is_dir():
        raise LocalError(f"{home.path} holds no node; 'ioe init' makes one")
    found = []
    for invitation in home.invitations():
        pattern = home.store_path(invitation, AgentPubKey(invitation.dna_hash)).name[:20]
        for path in sorted((home.path / "cells").glob(f"{pattern}*.sqlite")):
            try:
                rules = Rules(invitation.definition(known))
                found += [_row(invitation.seed, *each) for each in _verify_file(path, rules)]
            except IoeError as error:
                found.append(_row(invitation.seed, None, 0, str(error)))
    return found


def _verify_file(path: Path, rules: Rules) -> Iterator[tuple[AgentPubKey, int, str | None]]:
    """(agent, actions, fault or None) of every chain in one file."""
    store = Store(path)
    try:
        store.check_file()
        for author in store.authors():
            try:
                head = verify_stored(store, author, rules)
                yield author, 0 if head is None else head.seq + 1, None
            except IoeError as error:
                yield author, 0, str(error)
    finally:
        store.close()


def verify_stored(
    store: Store, author: AgentPubKey, rules: Rules, each: Callable[[], None] = lambda: None
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

        return verify_chain(watched(), author, rules.hash, rules.seal_fault)


def _row(
    community: str, agent: AgentPubKey | None, actions: int, fault: str | None
) -> dict[str, Any]:
    return {"community": community, "agent": agent, "actions": actions, "fault": fault}
