"""`ioe app`: bundles are written, and a closed door is said to be closed."""

from pathlib import Path

from ioe_node.api.conductor_bundle import unpack_app

from .conftest import Ioe
