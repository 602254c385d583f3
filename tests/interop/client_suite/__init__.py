"""The npm package's own tests, run against our node.

They are fetched, not kept here: `python -m tests.interop.client_suite` (see `__main__`).
"""
