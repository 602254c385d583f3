"""Orders, and the gates that settle who trades: agreed among many, decided by no one.

Orders are seen by all.  When their interval begins, its basis's authorities each vote for the
set that they hold (`Tally`), and for what most of them listed where they differ.  A `Gate` puts one
set's votes and its clearing together; anyone can write one and everyone can check it.  `integrity`
says what is valid, `coordinator` votes, gathers and reads.
"""
