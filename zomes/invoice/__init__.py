"""Invoices: what a member asks of another, and the other's word on it; `currency` pays them."""
