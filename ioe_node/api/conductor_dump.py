"""What a cell holds, for people who look inside: dumps of its chain and its ops, its size.

Actions are shown in the shapes of both Holochains that we serve.
"""

import json
from collections.abc import Iterator
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
BYTES_DUMPED_MAX = 8 * 1024 * 1024
"""Entries in one answer: the newest of the chain, and the next page's ops, until there are more."""
RECORDS_READ = 16
"""At once: so many of the largest entries are 64 MB."""
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
    """An action with Holochain's names; types of entries and links by our names.

    The header and the data of 0.7, and beside them the same laid flat, as 0.6 has it.
    """
    plain = msgspec.structs.asdict(action)
    data = {_NAMES.get(name, name): plain[name] for name in plain if name not in HEADER}
    if isinstance(action, Create | Update):
        data["entry_type"] = _SYSTEM_ENTRIES.get(action.entry_type, {"App": action.entry_type})
    if isinstance(action, CreateLink):
        data["zome_index"] = 0
    header = {
        "author": action.author,
        "timestamp": action.timestamp_us,
        "action_seq": action.action_seq,
        "prev_action": action.prev_action,
    }
    data["type"] = type(action).__name__
    return {**header, **data, "header": header, "data": data}


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
    seq = space.next_seq(space.agent)
    records: list[Record] = []
    size = 0
    while seq > 0 and len(records) < RECORDS_DUMPED_MAX and size < BYTES_DUMPED_MAX:
        first = max(0, seq - RECORDS_READ)
        read = space.store.chain(space.agent, first, seq - first)
        size += sum(len(record.entry or b"") for record in read)
        records[:0] = read
        seq = first
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
    shown = len(chain["records"])
    summary = (
        f"chain of {space.next_seq(space.agent)} actions, the newest {shown} of them here; "
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
    ops = await space.run(lambda: _page(cell, cursor))
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


def _page(cell: Cell, cursor: int) -> list[dict[str, Any]]:
    """The ops from place `cursor` on: a page of them, or as many as have their bytes' worth."""
    page: list[dict[str, Any]] = []
    place = size = 0
    for record in _records(cell.space.store):
        held = cell.space.ops_held(record)
        for kind in (each for each in OpKind if held & each.value):
            place += 1
            if place > cursor:
                page.append(_op_shape(record, kind))
                size += len(record.entry or b"") if kind in _WITH_ENTRY else 0
        if len(page) >= OPS_PER_PAGE or size >= BYTES_DUMPED_MAX:
            break
    return page


def _records(store: Store) -> Iterator[Record]:
    for author in sorted(store.authors()):
        seq = 0
        while records := store.chain(AgentPubKey(author), seq, RECORDS_READ):
            yield from records
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
