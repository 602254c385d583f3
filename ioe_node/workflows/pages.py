"""Pages: what is read off the disk for one answer, in a worker thread, within `PAGE_BYTES_MAX`.

A page holds one record or bundle at least, however large, and says whether more follows.
"""

from collections.abc import Iterable
from itertools import chain as joined
from itertools import islice

from ioe_node.errors import PeerError
from ioe_node.hdi import ActionHash, AgentPubKey, EntryHash
from ioe_node.model.hashes import ENTRY
from ioe_node.model.record import BUNDLE_ACTIONS_MAX, Record, WireRecord, parcels_of
from ioe_node.net.messages import (
    RECORDS_PER_ANSWER_MAX,
    Activity,
    Certified,
    Chain,
    Get,
    GetCertificate,
    GetOps,
    LinkPage,
    Links,
    Placed,
    Places,
    Records,
    encode,
)
from ioe_node.store.store import Store
from ioe_node.workflows.space import Space

PAGE_BYTES_MAX = 4_000_000
ACTIONS_PER_PAGE_MAX = 256
LINKS_PER_PAGE_MAX = RECORDS_PER_ANSWER_MAX // 2
RECORDS_OF_AN_ENTRY_MAX = 64
ROWS_AT_ONCE = 8
"""Read this many rows, then twice as many: an entry may have 4 MB."""


def size_of(record: Record) -> int:
    """What a record takes in an answer, near enough."""
    return len(record.action_bytes) + len(record.entry or b"") + 128


Reading = Get | GetOps | Activity | Links | Places | GetCertificate


def read_answer(space: Space, request: Reading) -> bytes:
    """The encoded answer to a request that only reads; raises `PeerError`."""
    match request:
        case Get():
            return encode(_get(space, request.hash))
        case GetOps():
            return encode(_ops(space, request))
        case Activity():
            return encode(_activity(space, request))
        case Links():
            return encode(_links(space, request))
        case Places():
            return encode(_places(space, request))
        case GetCertificate():
            proved = space.witness_rows.proved(ActionHash(request.action))
            return encode(Certified(None) if proved is None else Certified(*proved))


def _travelling(space: Space, record: Record) -> WireRecord:
    alone = space.store.alone(record)
    return WireRecord(
        alone.action_bytes, alone.proof, None if space.withhold(record) else alone.entry
    )


def page_of(records: Iterable[Record]) -> list[Record]:
    """As many of these as a page holds, one at least."""
    taken: list[Record] = []
    size_bytes = 0
    for record in records:
        size_bytes += size_of(record)
        if taken and size_bytes > PAGE_BYTES_MAX:
            break
        taken.append(record)
    return taken


def _get(space: Space, hash_: bytes) -> Records:
    if hash_[:3] == ENTRY:
        found = space.store.by_entry(EntryHash(hash_), 1)
        most = 1 + PAGE_BYTES_MAX // size_of(found[0]) if found else 1
        if most > 1:  # all of them carry the same entry
            found = space.store.by_entry(EntryHash(hash_), min(most, RECORDS_OF_AN_ENTRY_MAX))
    else:
        record = space.store.record(ActionHash(hash_))
        found = [] if record is None else [record]
    return Records(tuple(_travelling(space, record) for record in page_of(found)))


def _ops(space: Space, ask: GetOps) -> Records:
    held = (record for op in ask.ops for record in space.store.ops_at(op.location, op.short))
    return Records(tuple(_travelling(space, each) for each in page_of(islice(held, len(ask.ops)))))


def run_of(store: Store, author: AgentPubKey, from_seq: int) -> list[Record]:
    """The next whole bundles of a chain within a page; the first of them whole, however large.

    Begins with the bundle that `from_seq` is in: whoever has its beginning in another bundle
    must see this one, since both seals together convict the author.
    """
    first = store.record_at(author, from_seq)
    if first is None:
        return []
    if first.proof.index and not first.proof.cosignatures:
        from_seq -= first.proof.index
    run: list[Record] = []
    end = size_bytes = 0
    rows = ROWS_AT_ONCE
    while rows:
        read = store.chain(author, from_seq + len(run), rows)
        for record in read:
            size_bytes += size_of(record)
            if end and (size_bytes > PAGE_BYTES_MAX or len(run) >= ACTIONS_PER_PAGE_MAX):
                return run[:end]
            run.append(record)
            proof = record.proof
            if proof.cosignatures or proof.index == proof.size - 1:
                end = len(run)
        rows = min(2 * rows, BUNDLE_ACTIONS_MAX) if len(read) == rows else 0
    return run[:end]


def _activity(space: Space, ask: Activity) -> Chain:
    author = AgentPubKey(ask.author)
    run = run_of(space.store, author, ask.from_seq)
    head = space.store.head(author)
    more = bool(run) and head is not None and run[-1].action.action_seq < head.seq
    return Chain(tuple(parcels_of(run, space.withhold)), more)


def _places(space: Space, ask: Places) -> Placed:
    asked = [(AgentPubKey(place.author), place.action_seq) for place in ask.places]
    return Placed(tuple(space.store.hash_at(author, seq) for author, seq in asked))


def _removal(space: Space, link: Record) -> list[Record]:
    """One removal of a link, if there is any: it takes no more to be gone."""
    return space.store.amendments(link.hash, limit=1)


def _links(space: Space, ask: Links) -> LinkPage:
    after = None if ask.after is None else ActionHash(ask.after)
    if after is not None and space.store.record(after) is None:
        raise PeerError("that link is not here; begin again without one")
    made = space.store.links(ask.base, LINKS_PER_PAGE_MAX + 1, after)
    more = len(made) > LINKS_PER_PAGE_MAX
    made = made[:LINKS_PER_PAGE_MAX]
    both = joined.from_iterable([link, *_removal(space, link)] for link in made)
    return LinkPage(tuple(_travelling(space, record) for record in both), more)


def all_links(space: Space, base: bytes) -> list[Record]:
    """The CreateLinks at a base as held here, each followed by a removal if there is one."""
    made = space.store.links(base)
    return [record for link in made for record in (link, *_removal(space, link))]
