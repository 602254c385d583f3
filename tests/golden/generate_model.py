"""Writes model.json: the model's bytes and hashes, once and for all.

    python tests/golden/generate_model.py > tests/golden/model.json

A change of model.json is a change of the protocol: every chain made before it is lost.
"""

import json
from typing import Any

from ioe_node.core.chain import Draft, seal, with_path
from ioe_node.model import hashes
from ioe_node.model.action import (
    AgentValidationPkg,
    AnyAction,
    CloseChain,
    Create,
    CreateLink,
    Delete,
    DeleteLink,
    Dna,
    InitZomesComplete,
    OpenChain,
    Update,
    hash_of,
)
from ioe_node.model.agent_info import seal_info
from ioe_node.model.codec import encode, pack
from ioe_node.model.hashes import CORE, proof_digest, to_text
from ioe_node.model.op import ops_of
from ioe_node.model.record import Record, WireBundle, prefix_of, tree_of
from ioe_node.model.signing import Signer
from ioe_node.model.warrant import (
    VALID,
    ChainFork,
    DoubleSeal,
    InvalidRecord,
    Receipt,
    Revoked,
    seal_receipt,
    seal_warrant,
)

NOW_US = 1_700_000_000_000_000
AUTHOR = Signer(bytes(31) + b"\x01")
OTHER = Signer(bytes(31) + b"\x02")
NETWORK = hashes.dna_hash(b"golden network")
ENTRY = pack({"n": 1})


def actions() -> dict[str, AnyAction]:
    """One of each type, not a chain."""
    author, entry = AUTHOR.agent, hashes.entry_hash(ENTRY)
    earlier = hashes.action_hash(b"an earlier action", author)
    head: dict[str, Any] = {
        "author": author,
        "timestamp_us": NOW_US,
        "action_seq": 7,
        "prev_action": earlier,
    }
    first = {**head, "action_seq": 0, "prev_action": None}
    base = {"base": entry, "target": OTHER.agent, "link_type": "zome.link", "tag": b"tag"}
    return {
        "Dna": Dna(**first, dna_hash=NETWORK),
        "AgentValidationPkg": AgentValidationPkg(**head, membrane_proof=b"proof"),
        "InitZomesComplete": InitZomesComplete(**head),
        "Create": Create(**head, entry_type="zome.Entry", entry_hash=entry),
        "Update": Update(
            **head,
            original_action=earlier,
            original_entry=entry,
            entry_type="zome.Entry",
            entry_hash=entry,
        ),
        "Delete": Delete(**head, deletes_action=earlier, deletes_entry=entry),
        "CreateLink": CreateLink(**head, **base),
        "DeleteLink": DeleteLink(**head, base=entry, create_link=earlier),
        "CloseChain": CloseChain(**head, new_target=None),
        "OpenChain": OpenChain(**head, prev_target=NETWORK, close_hash=earlier),
    }


def bundle_of_three() -> list[Record]:
    """Three consecutive creates under one signature."""
    drafts: list[Draft] = []
    prev = hashes.action_hash(b"an earlier action", AUTHOR.agent)
    for number in range(3):
        entry = pack({"n": number})
        action = Create(
            author=AUTHOR.agent,
            timestamp_us=NOW_US + number,
            action_seq=3 + number,
            prev_action=prev,
            entry_type="zome.Entry",
            entry_hash=hashes.entry_hash(entry),
        )
        prev, data = hash_of(action)
        drafts.append(Draft(prev, action, data, entry))
    return seal(drafts, NETWORK, AUTHOR.sign)


def one_alone(action: AnyAction, entry: bytes | None) -> Record:
    """A bundle of one."""
    hash_, data = hash_of(action)
    return seal([Draft(hash_, action, data, entry)], NETWORK, AUTHOR.sign)[0]


def action_vector(action: AnyAction) -> dict[str, Any]:
    """An action, its hash, and the ops that it becomes: each one's kind and basis."""
    hash_, data = hash_of(action)
    ops = [[kind.name, to_text(basis)] for kind, basis in ops_of(action, hash_, by_hash=True)]
    return {"bytes": data.hex(), "hash": to_text(hash_), "ops": ops}


def bundle_vector(bundle: list[Record]) -> dict[str, Any]:
    """A bundle whole, and the proof of each of its records alone."""
    leaves = [record.hash[CORE] for record in bundle]
    wire = WireBundle(
        tuple(record.action_bytes for record in bundle),
        tuple(record.entry for record in bundle),
        bundle[0].proof.signature,
    )
    proofs = [with_path(record, leaves).proof for record in bundle]
    return {
        "wire": encode(wire).hex(),
        "hashes": [to_text(record.hash) for record in bundle],
        "root": tree_of(leaves)[-1][0].hex(),
        "paths": [[node.hex() for node in proof.path] for proof in proofs],
        "proofs": [encode(proof).hex() for proof in proofs],
    }


def vectors() -> dict[str, Any]:
    """Every vector, as JSON has it: bytes in hex, hashes as text."""
    made = actions()
    bundle = bundle_of_three()
    create = one_alone(made["Create"], ENTRY)
    delete = one_alone(made["Delete"], None)
    accused, accuser = AUTHOR.agent, OTHER.agent
    receipt = Receipt(accuser, NOW_US, tuple((record.hash, VALID) for record in bundle))
    invalid = InvalidRecord(accused, accuser, NOW_US, create.wire(), "a reason")
    fork = ChainFork(accused, accuser, NOW_US, create.wire(), delete.wire())
    prefix = InvalidRecord(accused, accuser, NOW_US, prefix_of(bundle, 2), "a reason")
    again = seal(
        [Draft(bundle[0].hash, bundle[0].action, bundle[0].action_bytes, None)],
        NETWORK,
        AUTHOR.sign,
    )
    whole = with_path(bundle[0], [record.hash[CORE] for record in bundle])
    twice = DoubleSeal(accused, accuser, NOW_US, whole.action_bytes, again[0].proof, whole.proof)
    revoked = Revoked(accused, accuser, NOW_US, create.wire())
    addresses = ("/ip4/127.0.0.1/tcp/4001",)
    info = seal_info(
        AUTHOR.agent, NETWORK, proof_digest(None), True, addresses, NOW_US, AUTHOR.sign
    )
    return {
        "now_us": NOW_US,
        "seeds": {"author": AUTHOR.seed.hex(), "other": OTHER.seed.hex()},
        "hashes": {
            "author": to_text(AUTHOR.agent),
            "other": to_text(OTHER.agent),
            "network": to_text(NETWORK),
            "entry": to_text(hashes.entry_hash(ENTRY)),
            "warrant": to_text(hashes.warrant_hash(b"a warrant")),
        },
        "values": {
            "empty": pack({}).hex(),
            "sorted": pack({"b": [1, -1, 2**64 - 1, -(2**63)], "a": {"z": None, "y": b"x"}}).hex(),
        },
        "actions": {name: action_vector(action) for name, action in made.items()},
        "bundle": bundle_vector(bundle),
        "record": encode(create.wire()).hex(),
        "receipt": encode(seal_receipt(receipt, NETWORK, OTHER.sign)).hex(),
        "warrants": {
            "InvalidRecord": encode(seal_warrant(invalid, NETWORK, OTHER.sign)).hex(),
            "InvalidRecord in a bundle": encode(seal_warrant(prefix, NETWORK, OTHER.sign)).hex(),
            "ChainFork": encode(seal_warrant(fork, NETWORK, OTHER.sign)).hex(),
            "DoubleSeal": encode(seal_warrant(twice, NETWORK, OTHER.sign)).hex(),
            "Revoked": encode(seal_warrant(revoked, NETWORK, OTHER.sign)).hex(),
        },
        "agent_info": encode(info).hex(),
    }


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
