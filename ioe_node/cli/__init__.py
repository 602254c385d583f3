"""`ioe`: noun, then verb; one file a noun.

Reading commands take `--json`.  Exit codes: 0 done, 1 refused here (the line says what to
do), 2 wrong usage, 3 refused by a peer, 4 not reachable, try again.
"""
