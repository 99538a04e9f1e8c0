"""A running node."""

import pytest
from network_node import RunningNode


@pytest.fixture
def node(tmp_path):
    node = RunningNode(tmp_path)
    yield node
    node.close()
