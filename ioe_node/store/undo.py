"""Undoing: the newest action of a chain makes room for the void that takes it back."""

from ioe_node.model.record import Record
from ioe_node.store.hash_index import SEQ_BITS
from ioe_node.store.names import delete_names
from ioe_node.store.store import Store


def undo(store: Store, record: Record, by_hash: bool) -> None:
    """Forget `record` if its chain ends with it; `by_hash`: its entry is found by its hash."""
    author, seq = record.action.author, record.action.action_seq
    with store._writing:
        head = store.head(author)
        if head is None or head.hash != record.hash:
            return
        agent = store._agents[author]
        row = agent << SEQ_BITS | seq
        with store._transaction("undo what was voided") as db:
            delete_names(db, [(record, row, by_hash)])
            store._hashes.drop([record.hash])
            (ops,) = db.execute("SELECT ops FROM record WHERE id=?", (row,)).fetchone()
            store._ops_added -= int(ops).bit_count()
            db.execute("DELETE FROM record WHERE id=?", (row,))
            # What comes to stand there has another hash, which the index must not miss.
            db.execute("UPDATE agent SET unindexed=min(unindexed, ?) WHERE id=?", (seq, agent))
        store._heads.pop(author, None)
