"""The protocol's bytes are what they were when the first chain was made."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from ioe_node.core.chain import with_path
from ioe_node.model.action import AnyAction, decode_action, hash_of
from ioe_node.model.agent_info import SignedInfo, open_info
from ioe_node.model.codec import Codec, pack, unpack
from ioe_node.model.hashes import AGENT, CORE, DNA, AgentPubKey, DnaHash, from_text, to_text
from ioe_node.model.record import (
    WireBundle,
    WireRecord,
    decode_parcel,
    open_bundle,
    open_record,
    root_of,
)
from ioe_node.model.warrant import (
    VALID,
    SignedReceipt,
    SignedWarrant,
    open_receipt,
    open_warrant,
)

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads((HERE / "model.json").read_text())


def decoded(shape: Any, text: str) -> Any:
    return Codec[Any](shape, "golden", 1_000_000).decode(bytes.fromhex(text))


def test_all_is_made_as_it_was(golden: Any) -> None:
    assert runpy.run_path(str(HERE / "generate_model.py"))["vectors"]() == golden


def test_every_action_type_is_there_and_opens(golden: Any) -> None:
    assert list(golden["actions"]) == [kind.__name__ for kind in AnyAction.__args__]
    for name, vector in golden["actions"].items():
        action = decode_action(bytes.fromhex(vector["bytes"]))
        assert type(action).__name__ == name
        hash_, data = hash_of(action)
        assert (to_text(hash_), data.hex()) == (vector["hash"], vector["bytes"])


def test_values(golden: Any) -> None:
    for text in golden["values"].values():
        assert pack(unpack(bytes.fromhex(text))).hex() == text


def test_the_bundle_opens_whole_and_in_parts(golden: Any) -> None:
    network = DnaHash(from_text(golden["hashes"]["network"], DNA))
    bundle = decode_parcel(bytes.fromhex(golden["bundle"]["wire"]))
    assert isinstance(bundle, WireBundle)
    records = open_bundle(bundle, network)
    leaves = [record.hash[CORE] for record in records]
    assert [to_text(record.hash) for record in records] == golden["bundle"]["hashes"]
    for place, record in enumerate(records):
        alone = with_path(record, leaves)
        assert [node.hex() for node in alone.proof.path] == golden["bundle"]["paths"][place]
        assert root_of(leaves[place], alone.proof).hex() == golden["bundle"]["root"]
        assert open_record(alone.wire(), network) == alone


def test_the_rest_opens(golden: Any) -> None:
    author = AgentPubKey(from_text(golden["hashes"]["author"], AGENT))
    other = AgentPubKey(from_text(golden["hashes"]["other"], AGENT))
    network = DnaHash(from_text(golden["hashes"]["network"], DNA))
    parcel = decode_parcel(bytes.fromhex(golden["record"]))
    assert isinstance(parcel, WireRecord)
    assert open_record(parcel, network).action.author == author
    receipt = open_receipt(decoded(SignedReceipt, golden["receipt"]), network, other)
    assert [verdict for _, verdict in receipt.verdicts] == [VALID] * 3
    for name, text in golden["warrants"].items():
        _, warrant = open_warrant(decoded(SignedWarrant, text), network)
        assert type(warrant).__name__ == name.split()[0]
        assert warrant.warrantee == author
    info = open_info(decoded(SignedInfo, golden["agent_info"]), network, golden["now_us"])
    assert (info.agent, info.addresses) == (author, ("/ip4/127.0.0.1/tcp/4001",))
