"""What a cell holds, for people who look inside: dumps of its chain and its ops, its size.

Actions are shown in the shape of Holochain 0.7: a header, and data with a type.
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from ioe_node.conductor.cell import Cell
from ioe_node.model.action import Action, AnyAction, Create, CreateLink, Update
from ioe_node.model.hashes import AgentPubKey
from ioe_node.model.op import OpKind
from ioe_node.model.record import Record
from ioe_node.store.store import Store

RECORDS_DUMPED_MAX = 1_000
OPS_PER_PAGE = 1_000
HEADER = frozenset(Action.__struct_fields__)
_NAMES = {
    "deletes_action": "deletes_address",
    "deletes_entry": "deletes_entry_address",
    "original_action": "original_action_address",
    "original_entry": "original_entry_address",
    "base": "base_address",
    "target": "target_address",
    "create_link": "link_add_address",
}
_KINDS = {
    OpKind.CREATE_RECORD: "CreateRecord",
    OpKind.AGENT_ACTIVITY: "AgentActivity",
    OpKind.CREATE_ENTRY: "CreateEntry",
    OpKind.UPDATE_RECORD: "UpdateRecord",
    OpKind.UPDATE_ENTRY: "UpdateEntry",
    OpKind.DELETE_RECORD: "DeleteRecord",
    OpKind.DELETE_ENTRY: "DeleteEntry",
    OpKind.CREATE_LINK: "CreateLink",
    OpKind.DELETE_LINK: "DeleteLink",
}
_SYSTEM_ENTRIES = {"agent": "Agent", "cap_grant": "CapGrant", "cap_claim": "CapClaim"}
_WITH_ENTRY = (OpKind.CREATE_RECORD, OpKind.CREATE_ENTRY, OpKind.UPDATE_RECORD, OpKind.UPDATE_ENTRY)


def action_shape(action: AnyAction) -> dict[str, Any]:
    """An action with Holochain's names; types of entries and links by our names."""
    plain = msgspec.structs.asdict(action)
    data = {_NAMES.get(name, name): plain[name] for name in plain if name not in HEADER}
    if isinstance(action, Create | Update):
        data["entry_type"] = _SYSTEM_ENTRIES.get(action.entry_type, {"App": action.entry_type})
    if isinstance(action, CreateLink):
        data["zome_index"] = 0
    return {
        "header": {
            "author": action.author,
            "timestamp": action.timestamp_us,
            "action_seq": action.action_seq,
            "prev_action": action.prev_action,
        },
        "data": {"type": type(action).__name__, **data},
    }


def _entry_shape(record: Record) -> dict[str, Any] | None:
    if record.entry is None:
        return None
    entry_type = getattr(record.action, "entry_type", "")
    return {"entry_type": _SYSTEM_ENTRIES.get(entry_type, "App"), "entry": record.entry}


def _record_shape(record: Record) -> dict[str, Any]:
    return {
        "signature": record.proof.signature,
        "action_address": record.hash,
        "action": action_shape(record.action),
        "entry": _entry_shape(record),
    }


def _chain(cell: Cell) -> dict[str, Any]:
    space = cell.space
    next_seq = space.next_seq(space.agent)
    first = max(0, next_seq - RECORDS_DUMPED_MAX)
    records = space.store.chain(space.agent, first, RECORDS_DUMPED_MAX)
    return {
        "records": [_record_shape(record) for record in records],
        "published_ops_count": space.store.ops_held(),
    }


def _peers(cell: Cell) -> dict[str, Any]:
    space = cell.space
    return {
        "this_agent_info": None,
        "this_dna": [space.dna, space.dna],
        "this_agent": [space.agent, space.agent],
        "peers": [
            {"kitsune_agent": peer, "kitsune_space": space.dna, "dump": "member"}
            for peer in space.others()
        ],
    }


async def dump(cell: Cell) -> str:
    """`dump_state`: the JSON of [dump, summary]; bytes are lists of numbers, as in Holochain."""
    space = cell.space
    limbo = space.store.limbo.rows()
    chain = await space.run(_chain, cell)
    found = {
        "peer_dump": _peers(cell),
        "source_chain_dump": chain,
        "integration_dump": {
            "validation_limbo": limbo,
            "integration_limbo": 0,
            "integrated": await space.run(space.store.ops_held),
        },
    }
    summary = (
        f"chain of {space.next_seq(space.agent)} actions, the newest {RECORDS_DUMPED_MAX} shown; "
        f"{len(space.others())} members known; {limbo} records wait to be validated"
    )
    return await space.run(lambda: json.dumps(_listed([found, summary])))


def _listed(value: Any) -> Any:
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value


async def full_dump(cell: Cell, cursor: int) -> dict[str, Any]:
    """`dump_full_state`: our chain's end, and a page of the ops held, from `cursor` on.

    The answer's `dht_ops_cursor` is where the next page begins; no more ops: the end was reached.
    """
    space = cell.space
    chain = await space.run(_chain, cell)
    ops = await space.run(
        lambda: list(islice(_ops(cell, space.store), cursor, cursor + OPS_PER_PAGE))
    )
    return {
        "peer_dump": _peers(cell),
        "source_chain_dump": chain,
        "integration_dump": {
            "validation_limbo": [],
            "integration_limbo": [],
            "integrated": ops,
            "dht_ops_cursor": cursor + len(ops),
        },
    }


def _ops(cell: Cell, store: Store) -> Iterator[dict[str, Any]]:
    for author in sorted(store.authors()):
        seq = 0
        while records := store.chain(AgentPubKey(author), seq, OPS_PER_PAGE):
            for record in records:
                held = cell.space.ops_held(record)
                yield from (_op_shape(record, kind) for kind in OpKind if held & kind.value)
            seq = records[-1].action.action_seq + 1


def _op_shape(record: Record, kind: OpKind) -> dict[str, Any]:
    signed = {"data": action_shape(record.action), "signature": record.proof.signature}
    if kind not in _WITH_ENTRY:
        return {"ChainOp": {_KINDS[kind]: [signed]}}
    entry = _entry_shape(record)
    shown = {"Hidden": None} if entry is None else {"Present": entry}
    return {"ChainOp": {_KINDS[kind]: [signed, shown]}}


def storage(cells: list[tuple[Cell, list[str]]]) -> dict[str, Any]:
    """`storage_info`: the bytes of each cell's one file, which holds authored and other ops."""
    blobs = []
    for cell, used_by in cells:
        size = _file_bytes(cell.space.store)
        figures = {
            "authored_data_size": 0,
            "authored_data_size_on_disk": 0,
            "dht_data_size": size,
            "dht_data_size_on_disk": size,
            "cache_data_size": 0,
            "cache_data_size_on_disk": 0,
            "used_by": used_by,
        }
        blobs.append({"type": "dna", "value": figures})
    return {"blobs": blobs}


def _file_bytes(store: Store) -> int:
    log = store.path.with_name(store.path.name + "-wal")
    return sum(path.stat().st_size for path in (store.path, log) if path.exists())
