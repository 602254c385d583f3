"""`ioe backup` and `ioe restore`: a node's directory in one file, and back.

The state is copied first, then the keys, then the chains.  So whatever the running node does
meanwhile, a copy is like a crash in between: keys and chains may be newer than the state, which
every deed expects, and never older.
"""

import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from ioe_node.cli.output import console, home_of
from ioe_node.conductor.home import Home
from ioe_node.config import load_config
from ioe_node.errors import LocalError
from ioe_node.store.snapshot import snapshot

NAME = re.compile(r"(cells/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,120}")
OF_THIS_RUN = re.compile(r"lock|control\.json|.*\.new|.*\.sqlite-(wal|shm|journal)")
FILES_MAX = 1_000
CHUNK_BYTES = 1_048_576


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
def backup(context: click.Context, file: Path) -> None:
    """Copy this node's directory into FILE (a .tar.gz), whether the node runs or not.

    \b
      ioe backup node-2026-11.tar.gz

    It holds the keys: an owner's are sealed with the passphrase, a device's lie beside what opens
    them.  Keep it where nobody else reads it.  'ioe restore' takes it back.
    """
    home = Home(home_of(context))
    if not home.config.is_file():
        raise LocalError(f"{home.path} holds no node; 'ioe init' makes one")
    try:
        with _new(file) as target, tarfile.open(fileobj=target, mode="w:gz") as archive:
            count = sum(_add(archive, home, path, file.absolute().parent) for path in _files(home))
    except OSError as error:
        raise LocalError(f"cannot write {file}: {error.strerror or error}") from None
    console.print(f"{file}: {count} files, {file.stat().st_size:,} bytes")


@contextmanager
def _new(file: Path) -> Iterator[io.BufferedWriter]:
    """A file that is there for its owner only, and only once it is whole."""
    if file.exists():
        raise LocalError(f"{file} is there already; name another")
    partial = file.with_name(file.name + ".partial")
    # One that lies there already may be another's, or a link.
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)


def _files(home: Home) -> list[Path]:
    """What makes the node, in the order in which it may be copied."""
    last = (home.keystore, home.unlock)
    found = [
        path
        for path in sorted((*home.path.iterdir(), *(home.path / "cells").glob("*")))
        if path.is_file() and not OF_THIS_RUN.fullmatch(path.name) and path not in last
    ]
    chains = [path for path in found if path.suffix == ".sqlite"]
    state = [path for path in found if path not in chains]
    # A history knows how far it has read the chains: it may lag behind them, and never lead.
    chains.sort(key=lambda path: path.parent != home.path)
    return [*state, *(path for path in last if path.is_file()), *chains]


def _add(archive: tarfile.TarFile, home: Home, path: Path, beside: Path) -> int:
    name = path.relative_to(home.path).as_posix()
    if path.suffix != ".sqlite":
        archive.add(path, name, recursive=False)
        return 1
    with tempfile.TemporaryDirectory(dir=beside, prefix=".backup-") as scratch:
        copy = Path(scratch) / path.name
        snapshot(path, copy)
        archive.add(copy, name, recursive=False)
    return 1


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.pass_context
def restore(context: click.Context, file: Path) -> None:
    """Make this node's directory anew from a FILE of 'ioe backup'.

    \b
      ioe --home ~/.ioe-node restore node-2026-11.tar.gz

    The directory must not be there yet.  A chain that has grown since is taken up from those who
    hold it before anything new is written; so never run the old directory beside the new one.
    """
    home = Home(home_of(context))
    if home.path.exists() and any(home.path.iterdir()):
        raise LocalError(f"{home.path} is not empty; move it away, or name another with --home")
    home.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.path.parent, prefix=".restore-") as scratch:
        made = Home(Path(scratch) / "node")
        made.create()
        try:
            with tarfile.open(file, mode="r|gz") as archive:
                for count, member in enumerate(archive, 1):
                    _take(archive, member, made, count)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise LocalError(f"{file} cannot be unpacked: {error}") from None
        _check(made, file)
        if home.path.exists():
            home.path.rmdir()
        made.path.rename(home.path)
    console.print(f"restored {home.path}; start it with 'ioe run'")


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, made: Home, count: int) -> None:
    """Write one plain file of the archive; raises `LocalError` for anything else."""
    source = archive.extractfile(member) if member.isreg() else None
    if source is None or not NAME.fullmatch(member.name) or count > FILES_MAX:
        raise LocalError(f"'{member.name[:80]!r}' is nothing that 'ioe backup' has written")
    if member.size > shutil.disk_usage(made.path).free:
        raise LocalError(f"'{member.name}' needs {member.size:,} bytes, more than the disk has")
    descriptor = os.open(made.path / member.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        shutil.copyfileobj(source, target, CHUNK_BYTES)


def _check(made: Home, file: Path) -> None:
    """Raise unless what was unpacked is a node: nothing takes its place before."""
    for path in (made.config, made.keystore):
        if not path.is_file():
            raise LocalError(f"{file} has no {path.name}: it is no backup of a node")
    # What opens a chain takes long to import, and no other command wants it.
    from ioe_node.store.store import Store

    load_config(made.config)
    made.state()
    for path in sorted((made.path / "cells").glob("*.sqlite")):
        with closing(Store(path)) as store:
            store.check_file()
