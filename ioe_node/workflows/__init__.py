"""The stages of a reading's way, one file each.

| stage | reads | writes | rings |
|---|---|---|---|
| genesis | membrane proof | the first actions | publish |
| call_zome | payload, own chain | a sealed bundle | publish, signals |
| publish | own chain, delivery | delivery | |
| incoming_ops | wire message | limbo | validation |
| validation | limbo | verdicts | integration |
| integration | verdicts | records, warrants, receipts | signals |
| places | what is held alone, its authors' authorities | what stands on its chain, warrants | |
| settle | both heads | promise, a countersigned record | publish |
| finality | own chain or another's | certificates | signals |
| witnessing | a request, our duty to its author | the duty | |
| standing | members' standings | the same | |

Each stage reads rows, writes rows and rings the next bell; none calls backward, and a commit
precedes every send, so a crash loses nothing.
"""
