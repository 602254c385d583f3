"""`ioe backup` of a running node, `ioe restore`, and archives that are none."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROFILE = ("--address", "127.0.0.1")


def packed(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def plain(name: str, data: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), data


def link(name: str, to: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, to
    return info, b""


def test_a_running_node_is_copied_and_the_copy_lives_on(
    ioe: Any, daemon: Any, tmp_path: Path
) -> None:
    ioe("init", *PROFILE)
    node, file = daemon("owner").wait_ready(), tmp_path / "node.tar.gz"
    ioe("community", "create", "street")
    node.wait_for(lambda: len(json.loads(ioe("chain", "show", "--json").out)) == 4)
    actions = json.loads(ioe("chain", "show", "--json").out)
    assert "files" in ioe("backup", str(file)).out
    assert file.stat().st_mode & 0o777 == 0o600
    assert "there already" in ioe("backup", str(file), code=1).err
    node.process.kill()
    node.process.wait(10)
    ioe("restore", str(file), home="again")
    assert "1 chain verifies" in ioe("chain", "verify", home="again").out
    again = tmp_path / "again"
    assert again.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in again.rglob("*") if path.is_file()} == {0o600}
    assert not (again / "control.json").exists()
    daemon("again").wait_ready()
    assert json.loads(ioe("chain", "show", "--json", home="again").out) == actions
    assert "not empty" in ioe("restore", str(file), home="again", code=1).err
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_keys_are_written_to_a_file_of_our_own(ioe: Any, tmp_path: Path) -> None:
    """What somebody laid where the copy is made would be theirs to read."""
    ioe("init", *PROFILE)
    theirs, file = tmp_path / "theirs", tmp_path / "node.tar.gz"
    theirs.touch(0o666)
    (tmp_path / "node.tar.gz.partial").symlink_to(theirs)
    ioe("backup", str(file))
    assert theirs.read_bytes() == b""
    assert file.is_file()
    assert not file.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([plain("../evil")], "nothing that 'ioe backup' has written"),
        ([plain("/etc/evil")], "nothing that 'ioe backup' has written"),
        ([plain("cells/../../evil")], "nothing that 'ioe backup' has written"),
        ([link("config.toml", "/etc/passwd")], "nothing that 'ioe backup' has written"),
        ([plain(f"file{number}") for number in range(1_001)], "nothing that 'ioe backup'"),
        ([plain("config.toml"), plain("config.toml")], "cannot be unpacked"),
        ([plain("config.toml", b"role = 'king'"), plain("keystore")], "role"),
        ([plain("config.toml", b"role = 'owner'")], "has no keystore"),
        ([plain("keystore")], "has no config.toml"),
        (
            [
                *(plain("config.toml", b"role = 'owner'"), plain("keystore")),
                plain("cells/a.sqlite", b"no database" * 500),
            ],
            "a.sqlite",
        ),
    ],
)
def test_what_is_no_backup_leaves_nothing(
    ioe: Any, tmp_path: Path, members: list[Any], why: str
) -> None:
    file = packed(tmp_path / "bad.tar.gz", members)
    assert why in ioe("restore", file, code=1).err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar.gz"]


@pytest.mark.parametrize(
    "damage", [lambda data: b"no archive", lambda data: data[: len(data) // 2]]
)
def test_an_archive_that_is_cut_short_leaves_nothing(
    ioe: Any, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    ioe("init", *PROFILE)
    file = tmp_path / "node.tar.gz"
    ioe("backup", str(file))
    file.write_bytes(damage(file.read_bytes()))
    assert "cannot be unpacked" in ioe("restore", str(file), home="again", code=1).err
    assert not (tmp_path / "again").exists()


def test_where_there_is_no_node_nothing_is_backed_up(ioe: Any, tmp_path: Path) -> None:
    assert "holds no node" in ioe("backup", str(tmp_path / "x"), code=1).err
    ioe("init", *PROFILE)
    assert "cannot write" in ioe("backup", str(tmp_path / "none" / "x"), code=1).err
