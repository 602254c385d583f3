"""What the suite believes to be Holochain's programs: `hc sandbox` and the bootstrap server.

`shim.py hc ...` makes and runs nodes of ours below `IOE_SUITE_HOMES`; `shim.py bootstrap`
says that it listens and waits to be killed, as our nodes need no such server.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from ioe_node.config import OWNER_TEMPLATE

DNAS = 'dnas = ["foo_dna:DNA"]'
CONFIG = {
    'dnas = ["dna.neighbourhood:DNA"]': DNAS,
    "enabled = false": "enabled = true",
    'origins = ["ioe"]': 'origins = ["client-test-admin"]',
    OWNER_TEMPLATE: "",  # it calls a zome that this DNA has not
}
TRIES = 300  # of 0.1 s: another program may have the port for a while
LEFT_BEHIND_AFTER = 30
IOE = [sys.executable, "-W", "ignore", "-m", "ioe_node.cli.main"]


def homes() -> Path:
    return Path(os.environ["IOE_SUITE_HOMES"])


def create() -> None:
    """Make a node; the two lines are what the suite looks for."""
    for index in count():
        home = homes() / str(index)
        with suppress(FileExistsError):
            home.mkdir()
            break
    init = [*IOE, "--home", str(home), "init", "--address", "127.0.0.1"]
    subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
    path = home / "config.toml"
    text = path.read_text()
    for old, new in CONFIG.items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text.replace('mdns = ["127.0.0.1"]', "mdns = []"))
    print(f"Created 1 sandbox\n{index}:{home}")


def run(port: str, index: str) -> None:
    """Run a node with its admin door at `port`; the suite kills the whole process group."""
    home = homes() / index
    path = home / "config.toml"
    path.write_text(path.read_text().replace("admin_port = 0", f"admin_port = {port}"))
    wait_until_free(int(port))
    at_port(port).write_text(str(os.getpid()))
    node = subprocess.Popen([*IOE, "--home", str(home), "run"], stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    for line in node.stdout:
        if line.startswith("ready"):
            print("Connected successfully to a running holochain", flush=True)
    sys.exit(node.wait())


def at_port(port: str) -> Path:
    """Where it is noted which shim runs a node at a port."""
    return homes().with_name(f"at-{port}")


def wait_until_free(port: int) -> None:
    """The suite starts the next node at the port of one that is still stopping.

    Or of one that a test which failed has left behind: that is ended here.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for attempt in range(TRIES):
            try:
                return probe.bind(("127.0.0.1", port))
            except OSError:
                time.sleep(0.1)
            if attempt == LEFT_BEHIND_AFTER and at_port(str(port)).exists():
                with suppress(ProcessLookupError):
                    os.killpg(int(at_port(str(port)).read_text()), signal.SIGKILL)
    sys.exit(f"port {port} is not free")


def hc(words: list[str]) -> None:
    """`hc sandbox --piped create ...`, `hc sandbox --piped -f=PORT run INDEX`, `... clean`.

    Nothing is cleaned: one test does not wait for its end, and would delete the next one's node.
    """
    if "create" in words:
        create()
    elif "run" in words:
        port = next(word.removeprefix("-f=") for word in words if word.startswith("-f="))
        run(port, words[-1])
    elif "clean" not in words:
        sys.exit(f"the suite asks for what is not known here: hc {' '.join(words)}")


def bootstrap() -> None:
    """Say where we listen; nobody of ours will come."""
    print("#kitsune2_bootstrap_srv#listening#127.0.0.1:9#", flush=True)
    signal.pause()


if __name__ == "__main__":
    if sys.argv[1] == "bootstrap":
        bootstrap()
    else:
        hc(sys.argv[2:])
