"""Two homes, each behind its own NAT, and two relays in the open: found, claimed, read, relay lost.

    device 10.1.0.2 ── nat-a ──┐                       ┌── nat-b ── 10.2.0.2 owner
                    192.0.2.10 ├── 192.0.2.0/24 (hub) ─┤ 192.0.2.20
                               │                       │
                        relay-1 192.0.2.1      relay-2 192.0.2.2

Every node is a real `ioe run` in a network namespace of its own, and no packet gets from one to
another but through the kernel's routing and masquerading.  The owner finds the device by what the
relays pass on, claims it with the code that it shows and reads what it meters.  Then, with the time
taken until the owner reads again:

1. The NATs choose another port for each destination, which nothing can pass: the relay that carries
   the two is killed with SIGKILL, and the other one takes over.
2. The NATs keep the port, as most do: the relay comes back, the two meet directly, and both relays
   are killed.

The whole play runs in a mount, network and process namespace (and, for who is not root, a user
namespace): when it ends, however it ends, the kernel takes all of it away.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ioe_node.clock import SystemClock
from ioe_node.drivers.driver import Reading

INSIDE = "--inside"
PORT = 4001
PATIENCE_S = 90.0
ASK_EVERY_S = 0.3
POWER_MILLI_W = 18_000_000
BEGAN_US = 1_700_000_000_000_000
US_PER_HOUR = 3_600_000_000
INTERVAL_US = 1_000_000
CIRCUIT, DIRECTLY = "a circuit:", "is met directly"
"""What nodes log of it."""
SKIPPED = 77
"""The exit code that says that this machine lets nobody make namespaces."""


class Steady:
    """A meter with steady power on the machine's clock."""

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> "Steady":
        """It has no options."""
        return cls()

    async def read(self) -> Reading:
        """The register grows with the clock."""
        now_us = SystemClock().now_us()
        energy_milli_wh = POWER_MILLI_W * (now_us - BEGAN_US) // US_PER_HOUR
        return Reading(now_us, energy_milli_wh, 0, POWER_MILLI_W)


class Failed(Exception):
    """What was to happen did not."""


def sh(command: str) -> None:
    """Run one command; its own words are the error."""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{command}: {done.stderr.strip()}")


# --- the network -----------------------------------------------------------------------------


def lay_out() -> None:
    """Namespaces, a bridge in the open, and two homes behind masquerading routers."""
    sh("mount -t tmpfs tmpfs /run")
    sh("ip netns add hub")
    sh("ip -n hub link add br0 type bridge")
    sh("ip -n hub link set br0 up")
    for name, host in (("relay-1", 1), ("relay-2", 2), ("nat-a", 10), ("nat-b", 20)):
        sh(f"ip netns add {name}")
        sh(f"ip -n {name} link set lo up")
        sh(f"ip -n {name} link add wan type veth peer name {name} netns hub")
        sh(f"ip -n hub link set {name} master br0 up")
        sh(f"ip -n {name} addr add 192.0.2.{host}/24 dev wan")
        sh(f"ip -n {name} link set wan up")
    for router, home, net in (("nat-a", "device", "10.1.0"), ("nat-b", "owner", "10.2.0")):
        sh(f"ip netns add {home}")
        sh(f"ip -n {home} link set lo up")
        sh(f"ip -n {router} link add lan type veth peer name eth0 netns {home}")
        sh(f"ip -n {router} addr add {net}.1/24 dev lan")
        sh(f"ip -n {router} link set lan up")
        sh(f"ip -n {home} addr add {net}.2/24 dev eth0")
        sh(f"ip -n {home} link set eth0 up")
        sh(f"ip -n {home} route add default via {net}.1")
        inside = f"ip netns exec {router}"
        sh(f"{inside} sysctl -q -w net.ipv4.ip_forward=1")
        sh(f"{inside} iptables -t nat -A POSTROUTING -o wan -j MASQUERADE --random-fully")
        # As a router for homes does: nothing comes in but answers, and nothing is said of that.
        for chain in ("INPUT", "FORWARD"):
            known = "-m conntrack --ctstate ESTABLISHED,RELATED"
            sh(f"{inside} iptables -A {chain} -i wan {known} -j ACCEPT")
            sh(f"{inside} iptables -A {chain} -i wan -j DROP")
        # What ended is soon forgotten, so that a change of the rules is not long without effect.
        for state, seconds in (("syn_sent", 3), ("time_wait", 1), ("close", 1), ("last_ack", 1)):
            sh(f"{inside} sysctl -q -w net.netfilter.nf_conntrack_tcp_timeout_{state}={seconds}")


def keep_ports() -> None:
    """From now on the NATs show a connection's own port, where that is free."""
    for router in ("nat-a", "nat-b"):
        sh(f"ip netns exec {router} iptables -t nat -R POSTROUTING 1 -o wan -j MASQUERADE")


# --- the nodes -------------------------------------------------------------------------------


@dataclass
class Node:
    """One `ioe` in the namespace of its name."""

    name: str
    address: str
    directory: Path
    process: "subprocess.Popen[bytes] | None" = None
    environment: dict[str, str] = field(
        default_factory=lambda: {**os.environ, "IOE_PASSPHRASE": "nat", "PYTHONWARNINGS": "ignore"}
    )

    @property
    def home(self) -> Path:
        """Its directory."""
        return self.directory / self.name

    def _command(self, *words: str) -> list[str]:
        ioe = [sys.executable, "-m", "ioe_node.cli.main", "--home", str(self.home)]
        return ["ip", "netns", "exec", self.name, *ioe, *words]

    def ioe(self, *words: str) -> str:
        """What a command prints; raises `Failed` with what it says is wrong."""
        command = self._command(*words)
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=self.environment
        )
        if done.returncode:
            raise Failed(f"{self.name}: ioe {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def read(self, *words: str) -> Any:
        """What a reading command answers."""
        return json.loads(self.ioe(*words, "--json"))

    def init(self, bootstrap: list[str], *words: str) -> None:
        """`ioe init`, and the config as its owner would edit it."""
        self.ioe("init", "--address", self.address, "--port", str(PORT), *words)
        path = self.home / "config.toml"
        text = path.read_text().replace("bootstrap = []", f"bootstrap = {json.dumps(bootstrap)}")
        text = text.replace(f'mdns = ["{self.address}"]', "mdns = []")
        path.write_text(text.replace("poll_ms = 10000", "poll_ms = 200"))

    def start(self) -> None:
        """`ioe run`, its output to a file."""
        started = self.said().count("ready:") if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command("run"), stdout=log, stderr=log, env=self.environment
            )
        until(lambda: self.said().count("ready:") > started, f"{self.name} to be ready")

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self.directory / f"{self.name}.log"

    def said(self) -> str:
        """All that it wrote."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, to the node itself: `ip netns exec` becomes it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def until(ready: Callable[[], Any], what: str) -> Any:
    """The first true answer; raises `Failed`."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := ready()):
        if time.monotonic() > deadline:
            raise Failed(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(ASK_EVERY_S)
    return found


# --- the play --------------------------------------------------------------------------------


def play(directory: Path) -> None:
    """See the module docstring; prints a line for each thing that happened."""
    lay_out()
    relays = [Node(f"relay-{each}", f"192.0.2.{each}", directory) for each in (1, 2)]
    for relay in relays:
        relay.init([])
        relay.start()
    meet = [relay.read("status")["addresses"][0] for relay in relays]
    owner = Node("owner", "10.2.0.2", directory)
    owner.init(meet)
    owner.start()
    owner.ioe("community", "create", "street", "--set", f"interval_us={INTERVAL_US}")
    device = Node("device", "10.1.0.2", directory)
    driver = ("--driver", "sim.nat:Steady")
    device.init(meet, "--role", "device", "--kind", "consumer", "--name", "boiler", *driver)

    since = time.monotonic()
    device.start()
    until(lambda: owner.read("device", "list")["near"], "the device to be found")
    say("found", since)
    (code,) = re.findall(r"^pairing code: (.*)$", device.said(), re.MULTILINE)
    since = time.monotonic()
    owner.ioe("device", "claim", "boiler", code)
    say("claimed", since)
    agent = until(lambda: acknowledged(owner), "the device to acknowledge its owner")
    say("enrolled", since)
    until(lambda: last_reading(owner, agent), "a first reading")
    say("read", since)
    carrying = the_carrying(relays)
    other = relays[1 - relays.index(carrying)]
    kill([carrying], owner, agent)
    print(f"{other.name} took over from {carrying.name}", flush=True)

    keep_ports()
    since = time.monotonic()
    before = owner.said().count(DIRECTLY)
    carrying.start()
    until(lambda: owner.said().count(DIRECTLY) > before, "the two to meet directly")
    say("met directly", since)
    kill(relays, owner, agent)
    print("the direct path took over", flush=True)


def kill(relays: list[Node], owner: Node, agent: str) -> None:
    """Kill relays, and wait until what was metered later is read."""
    for relay in relays:
        relay.kill()
    since, killed_us = time.monotonic(), SystemClock().now_us()
    until(lambda: last_reading(owner, agent) > killed_us, "a reading after a relay died")
    say(f"{' and '.join(relay.name for relay in relays)} killed, read again", since)


def the_carrying(relays: list[Node]) -> Node:
    """The relay that was asked last to carry something."""
    carried = [relay for relay in relays if CIRCUIT in relay.said()]
    if not carried:
        raise Failed("no relay carried anything: the two met otherwise")
    return max(carried, key=lambda relay: last_circuit(relay.said()))


def say(what: str, since: float) -> None:
    """One line with its seconds."""
    print(f"{what} after {time.monotonic() - since:.1f} s", flush=True)


def acknowledged(owner: Node) -> str:
    """The agent of the device, once it has acknowledged its owner."""
    found = owner.read("device", "list")["owned"]
    return str(found[0]["device"]) if found and found[0]["acknowledged"] else ""


def last_reading(owner: Node, agent: str) -> int:
    """When the newest interval began that the owner holds; 0 for none."""
    found = owner.read("meter", "history", agent)
    return int(found[0]["start"]) if found else 0


def last_circuit(log: str) -> str:
    """When a relay was last asked for a circuit, as its log's lines begin."""
    return max(line for line in log.splitlines() if CIRCUIT in line)


# --- where it is played ----------------------------------------------------------------------


def enclosure() -> list[str]:
    """The command that makes the namespaces around another."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


def why_not() -> str:
    """What this machine lacks; nothing if the play can be played here."""
    lacking = [tool for tool in ("unshare", "ip", "iptables", "sysctl") if not shutil.which(tool)]
    if lacking:
        return f"no {', '.join(lacking)} on this machine"
    trial = "mount -t tmpfs tmpfs /run && ip netns add a && ip netns exec a iptables -t nat -L"
    done = subprocess.run(
        [*enclosure(), "sh", "-c", trial], capture_output=True, text=True, check=False
    )
    return f"no namespaces here: {done.stderr.strip()[-200:]}" if done.returncode else ""


def main() -> int:
    """0: all happened; 1: not; 77: this machine lets nobody make namespaces."""
    if INSIDE not in sys.argv:
        reason = why_not()
        if reason:
            print(f"SKIPPED: {reason}", flush=True)
            return SKIPPED
        return subprocess.run(
            [*enclosure(), sys.executable, "-m", "sim.nat", INSIDE], check=False
        ).returncode
    with tempfile.TemporaryDirectory(prefix="ioe-nat-") as name:
        try:
            play(Path(name))
        except Failed as failure:
            print(f"FAILED: {failure}", flush=True)
            for log in sorted(Path(name).glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
