"""The real homes, fetched once a session by pip from the package index."""

from pathlib import Path

import pytest

from ioe_node.drivers import citylearn


@pytest.fixture(scope="session")
def citylearn_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return citylearn.fetch(tmp_path_factory.mktemp("citylearn"))
