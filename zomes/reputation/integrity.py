"""A zome without entries: a view is nobody's to validate."""

from ioe_node.hdi import IntegrityZome

zome = IntegrityZome("reputation")
