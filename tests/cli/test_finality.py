"""`ioe chain final` before a real node, alone in its community."""

import json
from typing import Any


def test_the_newest_action_and_any_other_is_asked_for(ioe: Any, daemon: Any) -> None:
    ioe("init", "--address", "127.0.0.1")
    daemon("owner").wait_ready()
    ioe("community", "create", "street")
    assert "final, 1 of 1" in ioe("chain", "final", "--wait", "20").out
    found = json.loads(ioe("chain", "final", "1", "--json").out)
    assert (found["seq"], found["state"]) == (1, "final")
    again = json.loads(ioe("chain", "final", found["hash"], "--json").out)
    assert again == found
    own = json.loads(ioe("chain", "final", "0", "--agent", found["author"], "--json").out)
    assert own["state"] == "final"


def test_what_is_no_action_is_said_in_one_line(ioe: Any, daemon: Any) -> None:
    ioe("init", "--address", "127.0.0.1")
    said = ioe("chain", "final", "uhCAk", code=1)
    assert "chain show" in said.err
    assert said.err.count("\n") == 1
    daemon("owner").wait_ready()
    ioe("community", "create", "street")
    assert "not here" in ioe("chain", "final", "99", code=4).err
