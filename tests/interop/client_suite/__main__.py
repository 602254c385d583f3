"""Run the package's own tests against our node: `python -m tests.interop.client_suite VERSION`.

VERSION is 0.20.8 or 0.21.0.  The sources come from GitHub, or from a clone that `--clone` names;
node, npm and some minutes are needed.  What cannot apply to this node is listed in
`NOT_APPLICABLE` with the reason; any other failure ends the run with exit code 1.
"""

import argparse
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ioe_node.api.conductor_bundle import pack_app, pack_dna

ROOT = Path(__file__).parents[3]
GITHUB = "https://github.com/holochain/holochain-client-js"
COMMITS = {
    "0.20.8": "e2d64a9",
    "0.21.0": "426e4df",
}
RUN_S_MAX = 1_800
QUIET_S = 150
NO_INIT = "counts InitZomesComplete, an action that our chains do not have"
NO_WASM = "sends WASM to run; our coordinators are Python and come with the node"
NO_BOOTSTRAP = "nodes find each other by Holochain's bootstrap server, which ours do not ask"
TYPED = "sets properties to YAML text; those of our DNAs are typed maps"
INIT_PROPERTIES = "our zomes have no init that such properties could reach"
OTHER_NETWORK = "gives an info to a node that is not in its network; ours refuse what is of no use"
NOT_APPLICABLE = {
    "can install app with init_properties and retrieve them via zome call": INIT_PROPERTIES,
    "can inject agents": OTHER_NETWORK,
    "stateDump": NO_INIT,
    "can update coordinators of an app": NO_WASM,
    "can query peer meta info over admin and app websocket": NO_BOOTSTRAP,
    "can dump network stats": f"{NO_BOOTSTRAP}; and wants iroh as the transport",
    "can install app with roles_settings": TYPED,
}
AS_0_7 = "0.7 refuses a network that the app is not in, which 0.6 answered with nothing; so do we"
NOT_APPLICABLE_TO = {"0.20.8": {"can query agents over app ws": AS_0_7}, "0.21.0": {}}


def fetch(version: str, clone: Path | None, where: Path) -> None:
    """Put the sources of a version into `where`."""
    commit = COMMITS[version]
    if clone is None:
        clone = where.with_name("clone")
        subprocess.run(["git", "clone", "--quiet", GITHUB, str(clone)], check=True)
    packed = subprocess.run(
        ["git", "-C", str(clone), "archive", commit], check=True, stdout=subprocess.PIPE
    )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(where, filter="data")


def prepare(source: Path, programs: Path) -> None:
    """Packages, bundles of our own in place of WASM, and programs named as Holochain's."""
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(["npm", "ci", *flags], cwd=source, check=True)
    fixture = source / "test/e2e/fixture"
    dna = "foo_dna:DNA"
    (fixture / "test.happ").write_bytes(pack_app("foo-test", [("foo", dna)], 10, False))
    (fixture / "test.dna").write_bytes(pack_dna(dna))
    wasm = source / "target/wasm32-unknown-unknown/release/coordinator2.wasm"
    wasm.parent.mkdir(parents=True)
    wasm.write_bytes(b"")
    shim = Path(__file__).with_name("shim.py")
    for name, word in (("hc", "hc"), ("kitsune2-bootstrap-srv", "bootstrap")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{shim}" {word} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)


def run(source: Path, programs: Path, homes: Path, log: Path) -> dict[str, bool]:
    """Whether each test passed, by name."""
    dnas = ROOT / "tests/interop/js_conductor/dna"
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{dnas}",
        "IOE_PASSPHRASE": "of the suite",
        "IOE_SUITE_HOMES": str(homes),
        "TEST_UNSTABLE": "true",
    }
    vitest = (source / "vitest.config.ts").exists()
    report = source / "report.json"
    command = (
        ["npx", "vitest", "run", "--reporter=verbose", "--reporter=json", f"--outputFile={report}"]
        if vitest
        else ["npx", "tsx", "test/index.ts"]
    )
    with log.open("wb") as output:
        suite = subprocess.Popen(
            command,
            cwd=source,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait(suite, log)
    for note in homes.parent.glob("at-*"):
        with suppress(ProcessLookupError):
            os.killpg(int(note.read_text()), signal.SIGKILL)
    return of_vitest(report.read_text()) if vitest else of_tape(log.read_text())


def wait(suite: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the suite ends, or says nothing more: after failed tests it does not end by itself."""
    end, quiet_since, size = time.monotonic() + RUN_S_MAX, time.monotonic(), 0
    while suite.poll() is None and time.monotonic() < min(end, quiet_since + QUIET_S):
        time.sleep(1)
        if (now := log.stat().st_size) != size:
            quiet_since, size = time.monotonic(), now
    with suppress(ProcessLookupError):
        os.killpg(suite.pid, signal.SIGKILL)
    suite.wait()


def of_vitest(text: str) -> dict[str, bool]:
    """What vitest's report says."""
    return {
        each["title"]: each["status"] == "passed"
        for file in json.loads(text)["testResults"]
        for each in file["assertionResults"]
    }


def of_tape(text: str) -> dict[str, bool]:
    """What a log of the Test Anything Protocol says: a test passes if no assertion in it failed."""
    found: dict[str, bool] = {}
    name = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"# (?!tests |pass |fail |ok)(.*?)\s*", line):
            name = heading[1]
            found[name] = True
        elif line.startswith("not ok ") and name:
            found[name] = False
    return found


def main() -> int:
    """Fetch, prepare, run, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.client_suite")
    parser.add_argument("version", choices=sorted(COMMITS))
    parser.add_argument("--clone", type=Path, help="a clone of the package's repository")
    parser.add_argument("--log", type=Path, help="where to write what the suite says")
    asked = parser.parse_args()
    log = asked.log or Path(tempfile.gettempdir()) / f"client_suite-{asked.version}.log"
    with tempfile.TemporaryDirectory() as directory:
        source, programs, homes = (Path(directory) / name for name in ("source", "bin", "homes"))
        for each in (source, programs, homes):
            each.mkdir()
        fetch(asked.version, asked.clone, source)
        prepare(source, programs)
        found = run(source, programs, homes, log)
    excused = {**NOT_APPLICABLE, **NOT_APPLICABLE_TO[asked.version]}
    failed = [name for name, passed in found.items() if not passed]
    unexpected = [name for name in failed if name not in excused]
    for name in failed:
        print(f"{name}: {excused.get(name, 'FAILED')}")
    print(
        f"@holochain/client {asked.version}: {len(found) - len(failed)} of {len(found)} passed, "
        f"{len(failed) - len(unexpected)} not applicable, {len(unexpected)} failed; {log}"
    )
    return 1 if unexpected or not found else 0


if __name__ == "__main__":
    sys.exit(main())
