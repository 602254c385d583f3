"""Genesis: the first three actions of a chain, and its first bundle."""

from ioe_node.core.chain import Draft, seal
from ioe_node.errors import RuleBroken
from ioe_node.hdi import Invalid
from ioe_node.model.action import AGENT_ENTRY, AgentValidationPkg, AnyAction, Create, Dna, hash_of
from ioe_node.model.hashes import entry_hash
from ioe_node.model.record import Record
from ioe_node.workflows.space import Space


def genesis_records(space: Space) -> list[Record]:
    """Dna, AgentValidationPkg and the agent key, sealed as one bundle."""
    now = space.clock.now_us()
    author = space.agent
    key = bytes(author)
    dna = Dna(author=author, timestamp_us=now, action_seq=0, prev_action=None, dna_hash=space.dna)
    drafts: list[Draft] = []

    def add(action: AnyAction, entry: bytes | None = None) -> None:
        hash_, data = hash_of(action)
        drafts.append(Draft(hash_, action, data, entry))

    add(dna)
    add(
        AgentValidationPkg(
            author=author,
            timestamp_us=now,
            action_seq=1,
            prev_action=drafts[0].hash,
            membrane_proof=space.membrane_proof,
        )
    )
    add(
        Create(
            author=author,
            timestamp_us=now,
            action_seq=2,
            prev_action=drafts[1].hash,
            entry_type=AGENT_ENTRY,
            entry_hash=entry_hash(key),
        ),
        key,
    )
    return seal(drafts, space.dna, space.sign)


async def genesis(space: Space) -> None:
    """Begin our chain, once."""
    if space.store.head(space.agent) is not None:
        return
    records = genesis_records(space)
    ops = [space.ops_held(record) for record in records]
    await space.run(space.store.commit, records, ops, space.by_hash(records))


def check_membrane(space: Space) -> None:
    """Judge our own proof before anyone else does; raises `RuleBroken`."""
    verdict = space.rules.definition.admits(space.agent, space.membrane_proof)
    if isinstance(verdict, Invalid):
        raise RuleBroken(f"this community does not admit us: {verdict.reason}")
