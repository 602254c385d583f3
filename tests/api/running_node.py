"""A real `ioe run` with its doors open, for tests of these and of clients in other languages."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ioe_node.conductor import keytree
from ioe_node.conductor.home import Home
from ioe_node.conductor.keystore import MINIMAL, Keystore

FIXTURE_DNAS = Path(__file__).parents[1] / "interop" / "js_conductor" / "dna"
ROOT = Path(__file__).parents[2]
FOO = "foo_dna:DNA"
CONFIG = """\
role = "owner"
dnas = ["dna.neighbourhood:DNA", "foo_dna:DNA"]
synchronous = "NORMAL"
[network]
relay = false
[api.conductor]
enabled = true
"""
READY_S_MAX = 30.0
PASSPHRASE = "of the test"


class RunningNode:
    """The process, and where its admin door is."""

    def __init__(self, home: Path, more: str = "") -> None:
        self.home = home
        made = Home(home)
        made.create()
        secrets = keytree.owner_secrets(keytree.new_root_seed(os.urandom))
        Keystore.create(made.keystore, PASSPHRASE.encode(), secrets, cost=MINIMAL)
        made.config.write_text(CONFIG + more)
        self.log = home / "log"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "ioe_node.cli.main"]
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{FIXTURE_DNAS}",
            "IOE_PASSPHRASE": PASSPHRASE,
        }
        self.log.write_text("")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--home", str(self.home), "run"], stdout=log, stderr=log, env=environment
            )
        deadline = time.monotonic() + READY_S_MAX
        while not (found := re.search(r"admin door: ws://127.0.0.1:(\d+)", self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.admin_port = int(found[1])

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(10) == 0, self.log.read_text()


@contextmanager
def running_node(home: Path, more: str = "") -> Iterator[RunningNode]:
    """A node, stopped at the end; `more` is added to its config's [api.conductor]."""
    node = RunningNode(home, more)
    try:
        yield node
    finally:
        node.process.kill()
        node.process.wait(10)
