"""`ioe key`: our keys, who holds keys for us, and what they consent to."""

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ioe_node.cli import client
from ioe_node.cli.output import (
    community_option,
    console,
    home_of,
    json_option,
    our_device,
    parse_agent,
    parse_digest,
    plain,
    printable,
    show,
    table,
    when,
)
from ioe_node.conductor import keytree
from ioe_node.errors import IoeError, LocalError, TransportError

TURN_PATIENCE_S = 180.0
LOOK_S = 0.5
WORDS_CHARS_MAX = 1_000
FILE_BYTES_MAX = 256 * 1024


def typed_words() -> bytes:
    """The root seed of the 24 words, typed and not shown; or a line of what is piped in."""
    if sys.stdin.isatty():
        return keytree.from_mnemonic(click.prompt("The 24 words", hide_input=True))
    text = sys.stdin.readline(WORDS_CHARS_MAX)
    if not text.strip():
        raise LocalError("nobody types the 24 words here; run this in a terminal, or pipe them in")
    return keytree.from_mnemonic(text.strip())


@click.group()
def key() -> None:
    """Keys: our own, those who hold keys for us, and what they consent to.

    \b
    An owner has 24 words and, made of them,
      the agent key      acts; on this machine; 'rotate' takes the next one
      the words' key     revokes and renews; on no machine: the words are typed when it is needed
      the holder key     consents for others; on this machine
    A device's keys come from its owner's words.
    """


@key.command("show")
@json_option
@click.pass_context
def show_(context: click.Context, as_json: bool) -> None:
    """Our keys, and whose consents our deeds take in each community."""
    found = client.call(home_of(context), "key_show")

    def people() -> None:
        console.print(f"agent key    {plain(found['agent'])}  (number {found['generation']})")
        console.print(f"holder key   {found['holder_key'].hex()}")
        console.print(f"words' key   {found['words_key'].hex()}")
        console.print(f"recovery     {found['recovery'].hex()}")
        if found["turning"]:
            console.print("the next key is being taken; see 'ioe status'")
        if found["succeeded_by"]:
            console.print(f"SUCCEEDED by {plain(found['succeeded_by'])}; run 'ioe key recover'")
        rows = [
            (each["community"], f"{e['threshold']} of {len(e['keys'])}", one.hex())
            for each in found["communities"]
            if (e := each["keyset"]) is not None
            for one in e["keys"]
        ]
        table("who decides", ("community", "consents", "key"), rows)

    show(found, as_json, people)


@key.command()
@click.argument("agent")
@community_option
@json_option
@click.pass_context
def history(context: click.Context, agent: str, community: str | None, as_json: bool) -> None:
    """Every key that the identity of AGENT (any of its keys) has had, oldest first."""
    home, which = home_of(context), parse_agent(agent)
    found = client.call(home, "key_history", agent=which, community=community)

    def people() -> None:
        rows = [
            (
                plain(each["agent"]),
                when(each["from_us"]),
                when(each["until_us"]) if each["until_us"] is not None else "",
                each["how"],
                plain(each["to"]) if each["to"] else "",
            )
            for each in found
        ]
        table("", ("key", "from", "until", "how", "to"), rows)

    show(found, as_json, people)


@key.command()
@click.argument("device", required=False)
@click.pass_context
def rotate(context: click.Context, device: str | None) -> None:
    """Take the next key: of DEVICE, or without one our own, by the 24 words.

    \b
      ioe key rotate                  a machine may have been read, or it is time
      ioe key rotate roof             the same for a device of ours, by its name or agent key

    The old chain is closed and stays readable, the new one says that it follows, and devices,
    rights and holders go with it.  If it is interrupted, run it again.
    """
    home = home_of(context)
    if device is not None:
        made = client.call(home, "device_rotate", device=our_device(home, device))
        console.print(f"the device takes its next key: {plain(made['device'])}")
        return
    made = client.call(home, "key_rotate", root=typed_words())
    _await_key(home, made["agent"])
    console.print(f"our key is now number {made['generation']}: {plain(made['agent'])}")


@key.command()
@click.pass_context
def recover(context: click.Context) -> None:
    """Shut out a machine of ours that is lost or stolen, by the 24 words.

    \b
    On a new machine:
      ioe init --recover              keys from the words
      ioe run &                       it finds our devices, and through them our communities
      ioe community list              until all are there
      ioe key recover                 takes the next key and revokes the lost machine's

    Whatever the lost machine signs from then on is refused by all.
    """
    home = home_of(context)
    made = client.call(home, "key_recover", root=typed_words())
    if made["moved"]:
        console.print(
            f"our devices knew key number {made['generation']} already; it is taken up.  When "
            "'ioe community list' shows our communities, run this again to shut others out"
        )
        return
    _await_key(home, made["agent"])
    console.print(f"our key is now number {made['generation']}: {plain(made['agent'])}")
    console.print(
        "The lost machine knows the keys of our devices too.  Give each another one, once "
        "'ioe device list' shows it as ours: ioe key rotate DEVICE"
    )


def _await_key(home: Path, agent: bytes) -> None:
    """Wait until the node lives under a key; it answers to nobody in between."""
    until_s = time.monotonic() + TURN_PATIENCE_S
    with console.status("closing our chains and seeing them held by others..."):
        while time.monotonic() < until_s:
            with suppress(IoeError):
                if client.call(home, "status")["agent"] == agent:
                    break
            time.sleep(LOOK_S)
        else:
            raise TransportError("nobody has taken our old chain yet; it goes on by itself")
    for number, asked in enumerate(client.call(home, "key_owed")):
        console.print(f"In '{asked['community']}' our key-holders have to consent to the new key.")
        _hand_out(asked, Path(f"succession-request-{number}.json"))


@key.command()
@click.option("--threshold", type=click.IntRange(1, 16), required=True, help="How many decide.")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write a request.")
@community_option
@click.pass_context
def holders(
    context: click.Context,
    threshold: int,
    keys: tuple[str, ...],
    out: Path | None,
    community: str | None,
) -> None:
    """Have THRESHOLD of these KEYs decide what our agent key must not do alone.

    \b
      ioe key holders --threshold 3 4be1... 90ad... 77c0... 1f2e... c8d3...

    Each KEY... is a person's holder key or words' key, from their 'ioe key show'.  From then on a
    device is given up or revoked, and holders are changed, with so many consents only.  Those who
    hold keys now have to consent to it.
    """
    payload = {"threshold": threshold, "keys": [parse_digest(each) for each in keys]}
    if carry_out(home_of(context), "set_keyset", payload, out, community):
        console.print(f"{threshold} of these {len(keys)} decide from now on; see 'ioe key show'")


def carry_out(
    home: Path, deed: str, payload: dict[str, Any], out: Path | None, community: str | None
) -> bool:
    """Do a deed, or write the request that gathers the consents it takes; whether it is done."""
    asked = client.call(home, "key_ask", deed=deed, payload=payload, community=community)
    words_key = client.call(home, "key_show")["words_key"]
    if not asked["enough"] and words_key in asked["keys"]:
        console.print("The words' key has to consent to this.")
        asked = client.call(home, "key_sign", request=asked["file"], root=typed_words())
    if asked["enough"]:
        client.call(home, "key_do", request=asked["file"])
        return True
    _hand_out(asked, out or Path(f"{deed}-request.json"))
    return False


def _hand_out(asked: dict[str, Any], path: Path) -> None:
    """Write a request, and say what to do with it."""
    _write(path, asked["file"], overwrite=False)
    console.print(
        f"{len(asked['signed'])} of {asked['threshold']} consents are here.  Send {path} to the "
        "holders; they run 'ioe key sign' on it.  Then: ioe key merge --do FILE..."
    )


@key.command()
@click.argument("file")
@click.option("--words", is_flag=True, help="Sign with the words' key too; they are asked for.")
@click.option("--yes", is_flag=True, help="Sign without being asked.")
@click.pass_context
def sign(context: click.Context, file: str, words: bool, yes: bool) -> None:
    """Consent, as a holder, to the deed that FILE asks for; FILE then holds our consent too.

    \b
      ioe key sign release-request.json        shows what it is before it signs
      ioe key sign 4be190ad                    one that came over the network: its id, from
                                               'ioe key requests'; who asks collects it
    """
    home, path = home_of(context), Path(file)
    if path.exists():
        root = typed_words() if words else None
        made = client.call(home, "key_sign", request=_read(path), root=root)
        _agree(made["content"], yes)
        _write(path, made["file"], overwrite=True)
        console.print(f"{len(made['signed'])} of {made['threshold']} consents are in {file}")
        return
    asked = {each["id"]: each for each in client.call(home, "key_requests")}
    if file not in asked:
        raise LocalError(f"{file[:60]} is no file here, nor an id of 'ioe key requests'")
    _agree(asked[file]["content"], yes)
    root = typed_words() if words else None
    client.call(home, "key_decide", id=file, consent=True, root=root)
    console.print("signed; who asks collects it with 'ioe key gather'")


def _agree(content: dict[str, Any], yes: bool) -> None:
    """Show what is to be signed, and have it confirmed."""
    for name, value in content.items():
        shown = [plain(each) for each in value] if isinstance(value, list) else plain(value)
        console.print(f"  {name}: {printable(str(shown))}")
    if not yes:
        click.confirm("Consent to this?", abort=True)


@key.command()
@json_option
@click.pass_context
def requests(context: click.Context, as_json: bool) -> None:
    """What others ask us, as a holder of their keys, to consent to."""
    found = client.call(home_of(context), "key_requests")

    def people() -> None:
        rows = [
            (
                each["id"],
                each["content"]["deed"],
                plain(each["by"]),
                when(each["at_us"]),
                "yes" if each["signed"] else "",
            )
            for each in found
        ]
        table("", ("id", "deed", "asked by", "since", "signed"), rows)

    show(found, as_json, people)


@key.command()
@click.argument("id")
@click.pass_context
def refuse(context: click.Context, id: str) -> None:
    """Forget a request of 'ioe key requests', by its ID; it may be asked again.

    \b
      ioe key refuse 4be190ad
    """
    client.call(home_of(context), "key_decide", id=id, consent=False)
    console.print("forgotten")


@key.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("agents", nargs=-1, required=True, metavar="AGENT...")
@click.pass_context
def gather(context: click.Context, file: Path, agents: tuple[str, ...]) -> None:
    """Ask the holders at these AGENT... keys, over the network, to consent to FILE.

    \b
      ioe key gather release-request.json uhCAk...anna uhCAk...ben
      (they: ioe key requests, ioe key sign ID)
      ioe key gather release-request.json uhCAk...anna uhCAk...ben     collects
    """
    holders = [parse_agent(each) for each in agents]
    made = client.call(home_of(context), "key_gather", request=_read(file), holders=holders)
    _write(file, made["file"], overwrite=True)
    for each in made["silent"]:
        console.print(f"{plain(each['agent'])[:13]}: {printable(each['why'])}")
    console.print(f"{len(made['signed'])} of {made['threshold']} consents are in {file}")
    if made["enough"]:
        console.print(f"enough: ioe key merge --do {file}")


@key.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
@click.option("--do", "do_it", is_flag=True, help="Do the deed, if it is ours and enough consent.")
@click.pass_context
def merge(context: click.Context, files: tuple[Path, ...], do_it: bool) -> None:
    """Put the consents of several files of one deed, FILE..., together into the first.

    \b
      ioe key merge --do mine.json annas.json bens.json
    """
    home = home_of(context)
    made = client.call(home, "key_merge", requests=[_read(each) for each in files])
    _write(files[0], made["file"], overwrite=True)
    console.print(f"{len(made['signed'])} of {made['threshold']} consents are in {files[0]}")
    if do_it:
        client.call(home, "key_do", request=made["file"])
        console.print("done")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None


def _write(path: Path, data: bytes, overwrite: bool) -> None:
    try:
        with path.open("wb" if overwrite else "xb") as file:
            file.write(data)
    except FileExistsError:
        raise LocalError(f"{path} is there already; name another with --out") from None
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
