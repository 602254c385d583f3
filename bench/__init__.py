"""What the node costs, beside what it must cost at least, in one run on one machine.

Each module here is a program: `python -m bench.chain` prints a table for people, with `--json`
one object a line (`bench.report` says its shape).  Trust the ratios more than the figures: the
limit is measured in turn with ours, so a noisy machine disturbs both alike.
"""
