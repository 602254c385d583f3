"""The stages of a cell: the way of a reading, and what keeps its network in order beside it.

| stage | reads | writes | rings |
|---|---|---|---|
| restore | what others hold of our own chain | what the disk lacks of it | publish |
| genesis | membrane proof | the first actions | |
| call_zome | payload, own chain | a sealed bundle | publish, signals |
| settle | both heads | promise, a countersigned record | publish, signals |
| publish | own chain, delivery | delivery | |
| publish_ops | what we owe other neighbourhoods | receipts; what is repaid | |
| incoming_ops | wire message | limbo | validation |
| validation | limbo | verdicts, for integration | |
| integration | verdicts | records, warrants, receipts | signals, spread |
| spread | warrants | who was told | |
| peers, locate | infos that others pass on | members, and who is near | publish, gossip |
| gossip, compare | what neighbours hold | limbo, by fetching; theirs | validation |
| places | what is held alone, its authors' authorities | what stands, warrants | spread |
| release | what is not ours to hold | less of it | |
| finality, errand | own chain or another's | certificates | signals |
| hastening | halves of settlements that are not final | certificates, by errands | |
| certificates | others' certificates | certificates | validation |
| witnessing, relief | a request, our duty to its author | the duty | |
| standing | members' standings | the same | |

What answers a request is `answer`; it waits its turn in `turns`.  Each stage reads rows, writes
rows and rings the next bell; none calls backward, and a commit precedes every send, so a crash
loses nothing.
"""
