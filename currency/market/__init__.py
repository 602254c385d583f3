"""Markets: orders in, a clearing out; the same from the same set, whoever computes it.

`book` has the words, the tie rule and the money; `merit` sorts and crosses, which is all the
solving there is.  A *mechanism* is any function from orders to a `Clearing`: `uniform`,
`double_auction`, `pay_as_bid`, `mid_market` and `need_weighted`; a community chooses one.
`preferences` lets orders be choosy under any of them, `zones` carries what one zone leaves up
to the next, for a fee, and at last to the grid.  All of it is pure and in integers.
"""
