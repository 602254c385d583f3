"""How we see others: evidence weighed with its owner's weights, each piece for all to see.

Nothing is written here and nothing is agreed on: two agents may see a third differently, and
either can say why.  What makes evidence is in `coordinator`, what it counts for in `scoring`.
"""
