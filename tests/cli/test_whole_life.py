"""A device's whole life as real processes, from its box to its second owner's new laptop.

After each step whoever had a part before tries what must be theirs no more: the seller, and thieves
who have the whole disk of a machine as it was before the step.
"""

import io
import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ioe_node.conductor import keytree, owner_calls
from ioe_node.conductor.home import Home
from ioe_node.conductor.keystore import Keystore
from ioe_node.errors import Refused, TransportError
from ioe_node.model.codec import encode
from ioe_node.model.hashes import AGENT, AgentPubKey, from_text, to_text
from ioe_node.model.signing import Signer
from ioe_node.net.libp2p_transport import open_transport
from ioe_node.net.transport import Service

PATIENCE_S = 45.0
WORDS = re.compile(r"^  ((?:[a-z]+ ){23}[a-z]+)$", re.MULTILINE)
INTERVAL_US = 1_000_000
HTTP = re.compile(r'^http = ".*"$', re.MULTILINE)
LISTEN = re.compile(r"^(listen = .*/tcp/)\d+", re.MULTILINE)
UNHEARD = "nobody has told yet what others hold of our chain"
ASKED = (
    owner_calls.Release(None),
    owner_calls.Rotate(bytes(32), b""),
    owner_calls.SetPolicy(b""),
    owner_calls.ShowInvitations(),
)


class Life:
    """The nodes by the names of their homes, and what they and thieves can do."""

    def __init__(self, ioe: Any, daemon: Any, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.ioe = ioe
        self.path = path
        self.nodes: dict[str, Any] = {}
        self._daemon = daemon
        self._patch = patch

    def make(self, name: str, *words: str) -> str:
        """`ioe init`, and the config as its owner would edit it; what it said."""
        said: str = self.ioe("init", "--address", "127.0.0.1", *words, home=name).out
        config = self.path / name / "config.toml"
        text = config.read_text().replace("poll_ms = 10000", "poll_ms = 100")
        config.write_text(text.replace("every_ms = 60000", "every_ms = 300"))
        return said

    def make_device(self, name: str, kind: str, power_milli_w: int) -> None:
        driver = ("--driver", "steady_meter:Steady", "--option", f"power_milli_w={power_milli_w}")
        self.make(name, "--role", "device", "--kind", kind, "--name", name, *driver)

    def run(self, name: str) -> None:
        (self.path / f"{name}.log").unlink(missing_ok=True)
        self.nodes[name] = self._daemon(name).wait_ready()

    def read(self, *words: str, home: str) -> Any:
        return json.loads(self.ioe(*words, "--json", home=home).out)

    def until(self, ready: Callable[[Any], Any], *words: str, home: str) -> Any:
        """What a command says, once it is as awaited; one that cannot answer now is asked again."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            said = self.ioe(*words, "--json", home=home, code=None)
            if said.code == 0 and ready(found := json.loads(said.out)):
                return found
            assert time.monotonic() < deadline, (home, words, said)
            time.sleep(0.1)

    def status(self, home: str) -> Any:
        return self.read("status", home=home)

    def agent(self, home: str) -> str:
        return str(self.status(home)["agent"])

    def key(self, home: str) -> AgentPubKey:
        return AgentPubKey(from_text(self.agent(home), AGENT))

    def typed(self, words: str) -> None:
        """What is typed where the 24 words are asked for next."""
        self._patch.setattr("sys.stdin", io.StringIO(words))

    def image(self, name: str, copy: str) -> None:
        """The disk of a running node as it is at this moment, for a machine with another port."""
        process = self.nodes[name].process
        process.send_signal(signal.SIGSTOP)
        shutil.copytree(self.path / name, self.path / copy)
        process.send_signal(signal.SIGCONT)
        (self.path / copy / "control.json").unlink()
        config = self.path / copy / "config.toml"
        text = LISTEN.sub(r"\g<1>0", config.read_text())
        config.write_text(HTTP.sub('http = "127.0.0.1:0"', text))

    def secrets(self, home: str) -> Any:
        disk = Home(self.path / home)
        sealed = disk.unlock.read_bytes() if disk.unlock.exists() else b"of the test"
        return Keystore.open(disk.keystore, sealed).secrets

    def asked(self, home: str, of: str) -> list[Any]:
        """What the node `of` answers to each owner's call, made with the key kept in `home`."""
        (line, *_) = self.status(of)["addresses"]
        device = self.key(of)
        seed = keytree.agent_seed(self.secrets(home))
        return trio.run(self._asked, seed, device, line.split("/p2p/")[0])

    async def _asked(self, seed: bytes, device: AgentPubKey, address: str) -> list[Any]:
        async with open_transport(seed, "/ip4/127.0.0.1/tcp/0") as transport:
            transport.offer(owner_calls.OWNER_PROTOCOL, Service(bytes, _anyone, _nothing))
            transport.learn(device, (address,))
            return [await self._answer(transport, device, encode(each)) for each in ASKED]

    async def _answer(self, transport: Any, device: AgentPubKey, request: bytes) -> Any:
        """What a device answers, or why it refuses.

        Two machines with one key take each other's links away, so it may take several attempts.
        """
        with trio.fail_after(PATIENCE_S):
            while True:
                try:
                    protocol = owner_calls.OWNER_PROTOCOL
                    data = await transport.request(protocol, device, request)
                    return owner_calls.answers.decode(data)
                except Refused as refusal:
                    return refusal.text
                except TransportError:
                    await trio.sleep(0.1)

    def holds(self, home: str, text: str) -> bool:
        """Whether any file of a home has this text in it."""
        files = [path for path in (self.path / home).rglob("*") if path.is_file()]
        return any(text.encode() in path.read_bytes() for path in files)


@pytest.fixture
def life(ioe: Any, daemon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    made = Life(ioe, daemon, tmp_path, monkeypatch)
    yield made
    for each in made.nodes.values():
        each.process.send_signal(signal.SIGCONT)


def _anyone(peer: AgentPubKey, hello: bytes) -> None:
    """Who asks as a thief lets everybody in."""


async def _nothing(peer: AgentPubKey, message: bytes) -> bytes:
    return b""


def names_owned(found: Any) -> list[str]:
    return sorted(each["name"] for each in found["owned"] if each["acknowledged"])


def near(agent: str) -> Callable[[Any], bool]:
    return lambda found: agent in [each["agent"] for each in found["near"]]


def in_force(history: Any, at_us: int) -> list[str]:
    """Whose word counted at a moment, by `ioe key history`."""
    return [
        each["agent"]
        for each in history
        if each["from_us"] <= at_us and (each["until_us"] is None or at_us <= each["until_us"])
    ]


def heard(life: Life, kind: str, agent: str) -> None:
    """Wait until ann is told this of an agent."""
    life.until(
        lambda found: (kind, agent) in [(e["kind"], e["facts"].get("agent")) for e in found],
        "alerts",
        home="ann",
    )


def told(*texts: str) -> Callable[[Any], bool]:
    """Whether an owner's calls were each refused with one of these."""
    return lambda answers: all(isinstance(each, str) and each in texts for each in answers)


def test_a_whole_life(life: Life) -> None:
    ann, ben, ben_words = neighbours(life)
    boxed(life)
    shown = powered(life)
    first = claimed(life, ann, shown)
    second = rotated(life, first)
    bought = sold(life, ann, ben, second)
    stolen(life, bought)
    recovered(life, ben, ben_words)
    for home in ("ann", "load", "ben again"):
        assert not any(each["fault"] for each in life.read("chain", "verify", home=home))
        audit = life.until(lambda found: found["sum_micro"] == 0, "credit", "audit", home=home)
        assert audit["balances"]


def neighbours(life: Life) -> tuple[str, str, str]:
    """Two owners in one community; ben has a device of his own. Their keys, and ben's words."""
    life.make("ann")
    (words,) = WORDS.findall(life.make("ben"))
    life.make_device("load", "consumer", 18_000_000)
    for name in ("ann", "ben", "load"):
        life.run(name)
    life.ioe("community", "create", "street", "--set", f"interval_us={INTERVAL_US}", home="ann")
    ben = life.read("key", "show", home="ben")
    made = life.ioe("community", "invite", ben["agent"], ben["recovery"], home="ann")
    life.ioe("community", "join", made.out.strip(), home="ben")
    policy = life.path / "policy.toml"
    text = life.ioe("policy", "show", home="ben").out
    policy.write_text(text.replace('visibility = "public"', 'visibility = "private"'))
    life.ioe("policy", "set", str(policy), home="ben")
    code = life.read("device", "code", home="load")
    life.until(near(life.agent("load")), "device", "list", home="ben")
    life.ioe("device", "claim", code["uri"], home="ben")
    life.until(lambda found: names_owned(found) == ["load"], "device", "list", home="ben")
    return life.agent("ann"), ben["agent"], words


def boxed(life: Life) -> None:
    """A machine that was never on is near nobody."""
    life.make_device("roof", "generator", -36_000_000)
    enrolment = Signer(keytree.agent_seed(life.secrets("roof"))).agent
    assert not near(to_text(enrolment))(life.read("device", "list", home="ann"))


def powered(life: Life) -> Any:
    """Its owner-to-be is told; nobody without its code has anything of it. Its code."""
    life.run("roof")
    shown = life.read("device", "code", home="roof")
    enrolment = life.agent("roof")
    heard(life, "appeared", enrolment)
    wrong = shown["uri"][:-1] + str((int(shown["uri"][-1]) + 1) % 10)
    life.until(near(enrolment), "device", "list", home="ben")
    assert "code is wrong" in life.ioe("device", "claim", wrong, home="ben", code=3).err
    assert told("this node is nobody's device")(life.asked("ben", "roof"))
    return shown


def claimed(life: Life, ann: str, shown: Any) -> str:
    """It is ann's, in her community, where ben reads it and can do no more. Its key."""
    life.ioe("device", "unlock", ann, home="roof")  # ben's guess would hold it up
    life.ioe("device", "claim", shown["uri"], home="ann")
    (owned,) = life.until(
        lambda found: names_owned(found) == ["roof"], "device", "list", home="ann"
    )["owned"]
    agent = str(owned["device"])
    life.until(lambda found: len(found) >= 2, "meter", "history", agent, home="ben")
    assert life.ioe("device", "claim", shown["uri"], home="ben", code=None).code
    for deed in ("transfer", "release", "revoke"):
        to = (ann,) if deed == "transfer" else ()
        said = life.ioe("device", deed, agent, *to, home="ben", code=1)
        assert "no device of ours" in said.err
    assert told("this device answers its owner only")(life.asked("ben", "roof"))
    assert [each["how"] for each in life.read("key", "history", agent, home="ben")] == ["in use"]
    return agent


def rotated(life: Life, old: str) -> str:
    """It takes its next key; who has read its disk before that has a key that has ended."""
    life.image("roof", "read roof")
    life.ioe("key", "rotate", old, home="ann")
    new = str(life.until(lambda found: found["agent"] != old, "status", home="roof")["agent"])
    life.until(
        lambda found: [each["device"] for each in found["owned"] if each["acknowledged"]] == [new],
        "device",
        "list",
        home="ann",
    )
    history = life.until(lambda found: len(found) == 2, "key", "history", old, home="ben")
    assert [(each["agent"], each["how"]) for each in history] == [(old, "rotated"), (new, "in use")]
    readings = life.read("meter", "history", old, home="ben")
    assert {tuple(in_force(history, each["end"])) for each in readings} == {(old,)}
    heard(life, "new keys", old)
    life.until(bool, "meter", "history", new, home="ben")
    life.run("read roof")
    shut_out(life, "read roof", "closed")
    assert life.read("meter", "history", old, home="ben") == readings
    return new


def shut_out(life: Life, home: str, why: str) -> None:
    """A stolen disk that runs: it pays nobody, and says why in the end."""
    victim = life.agent("ann")
    deadline = time.monotonic() + PATIENCE_S
    while why not in (said := life.ioe("credit", "pay", victim, "0.5", home=home, code=None)).err:
        assert said.code, "a stolen key has paid"
        assert time.monotonic() < deadline, (said, life.status(home))
        time.sleep(0.1)
    life.nodes[home].signal(signal.SIGTERM)


def retry(life: Life, home: str, *words: str) -> str:
    """What a command says once it can be done: what it needs has to be seen here first."""
    deadline = time.monotonic() + PATIENCE_S
    while (said := life.ioe(*words, home=home, code=None)).code:
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
    return str(said.out)


def sold(life: Life, ann: str, ben: str, old: str) -> str:
    """Ben has bought it: ann has nothing of it any more, nor it of her. Its key under ben."""
    secret = "NSW-8812"
    slip = life.ioe("claim", "issue", old, "installer", f"licence={secret}", home="ann").out
    retry(life, "roof", "claim", "keep", slip.strip())
    assert life.holds("roof", secret)
    life.image("roof", "sold roof")
    assert "offered" in life.ioe("device", "transfer", old, ben, home="ann").out
    assert life.read("key", "history", old, home="ben")[-1]["how"] == "in use"
    retry(life, "ben", "device", "accept", ann)
    enrolment = life.until(lambda found: found["role"] == "unowned", "status", home="roof")["agent"]
    assert not life.holds("roof", secret)
    assert life.ioe("meter", "history", old, home="roof", code=1).err
    life.until(lambda found: names_owned(found) == [], "device", "list", home="ann")
    code = life.read("device", "code", home="roof")["uri"]
    for home in ("ann", "ben"):
        life.until(near(enrolment), "device", "list", home=home)
    assert "only its buyer" in life.ioe("device", "claim", code, home="ann", code=3).err
    assert told("this node is nobody's device")(life.asked("ann", "roof"))

    life.ioe("device", "claim", code, home="ben")
    owned = life.until(
        lambda found: names_owned(found) == ["load", "roof"], "device", "list", home="ben"
    )["owned"]
    (new,) = [str(each["device"]) for each in owned if each["name"] == "roof"]
    history = life.until(lambda found: len(found) == 3, "key", "history", new, home="ben")
    assert [each["how"] for each in history] == ["rotated", "sold", "in use"]
    assert history[1]["to"] == ben
    heard(life, "new owner", old)
    readings = life.read("meter", "history", old, home="ben")
    metered = {tuple(in_force(history, each["end"])) for each in readings}
    assert metered - {(str(history[0]["agent"]),)} == {(old,)}
    life.until(bool, "meter", "history", new, home="ann")
    sellers_hands_are_off(life, ann, new)
    life.run("sold roof")
    shut_out(life, "sold roof", "closed")
    assert life.read("meter", "history", old, home="ben") == readings
    return new


def sellers_hands_are_off(life: Life, ann: str, device: str) -> None:
    """What ann knows of a device that was hers opens nothing of what it is now."""
    for deed in ("transfer", "release", "revoke"):
        to = (ann,) if deed == "transfer" else ()
        assert "no device of ours" in life.ioe("device", deed, device, *to, home="ann", code=1).err
    assert "no device of ours" in life.ioe("key", "rotate", device, home="ann", code=1).err
    assert told("this device answers its owner only")(life.asked("ann", "roof"))
    assert life.secrets("roof")["device"] != life.secrets("sold roof")["device"]
    life.until(near(device), "device", "list", home="ben")
    assert not near(device)(life.read("device", "list", home="ann")), "it is private now"
    secret = "PLUMBER-4711"
    slip = life.ioe("claim", "issue", device, "installer", f"licence={secret}", home="ben").out
    retry(life, "roof", "claim", "keep", slip.strip())
    assert life.holds("roof", secret)
    life.until(bool, "claim", "show", device, home="ann")
    assert not life.holds("ann", secret)


def stolen(life: Life, device: str) -> None:
    """Ben has it no more and says so: wherever it is plugged in, it is refused."""
    life.nodes["roof"].signal(signal.SIGKILL)
    said = life.ioe("device", "revoke", device, "--reason", "stolen from the roof", home="ben")
    assert "revoked" in said.out
    for home in ("ann", "load"):
        life.until(lambda found: device in found["communities"][0]["blocked"], "status", home=home)
    heard(life, "revoked", device)
    assert names_owned(life.read("device", "list", home="ben")) == ["load"]
    history = life.until(
        lambda found: found[-1]["how"] == "revoked", "key", "history", device, home="ann"
    )
    readings = life.read("meter", "history", device, home="ann")
    life.run("roof")
    life.until(lambda found: found["communities"][0]["refused_by"], "status", home="roof")
    shut_out(life, "roof", UNHEARD)
    assert life.read("meter", "history", device, home="ann") == readings
    assert {tuple(in_force(history, each["end"])) for each in readings} == {(device,)}


def recovered(life: Life, ben: str, words: str) -> None:
    """Ben's laptop is lost; from the words he is whole again, and the laptop is nobody."""
    life.nodes["ben"].signal(signal.SIGKILL)
    life.typed(words)
    life.make("ben again", "--recover")
    life.run("ben again")
    home = "ben again"
    life.until(lambda found: names_owned(found) == ["load"], "device", "list", home=home)
    assert life.agent(home) == ben
    life.typed(words)
    assert "number 1" in life.ioe("key", "recover", home=home).out
    new = life.agent(home)
    life.until(lambda found: names_owned(found) == ["load"], "device", "list", home=home)
    history = life.until(lambda found: len(found) == 2, "key", "history", ben, home="ann")
    assert [(each["agent"], each["how"]) for each in history] == [(ben, "revoked"), (new, "in use")]
    life.until(lambda found: found["owner"] == new, "status", home="load")
    life.until(lambda found: ben in found["communities"][0]["blocked"], "status", home="ann")

    life.run("ben")
    life.until(lambda found: found["communities"][0]["refused_by"], "status", home="ben")
    assert life.asked("ben", "load") == [owner_calls.Succeeded(life.key(home))] * len(ASKED)
    shut_out(life, "ben", UNHEARD)
    (device,) = [each["device"] for each in life.read("device", "list", home=home)["owned"]]
    assert "next key" in life.ioe("key", "rotate", device, home=home).out
    life.until(lambda found: found["agent"] != device, "status", home="load")
    life.until(lambda found: names_owned(found) == ["load"], "device", "list", home=home)
