import subprocess
from pathlib import Path

import pytest

from ioe_node.drivers import citylearn
from ioe_node.errors import LocalError


def test_totals_are_those_of_the_published_data(citylearn_cache: Path) -> None:
    homes = [citylearn.load_home(citylearn_cache, number) for number in range(1, 18)]
    assert {len(home.load_milli_wh) for home in homes} == {8760}
    assert {len(home.pv_milli_wh) for home in homes} == {8760}
    load = sum(sum(home.load_milli_wh) for home in homes)
    pv = sum(sum(home.pv_milli_wh) for home in homes)
    nets = [
        load - pv
        for home in homes
        for load, pv in zip(home.load_milli_wh, home.pv_milli_wh, strict=True)
    ]
    assert [
        round(total / 1_000_000)
        for total in (load, pv, sum(n for n in nets if n > 0), -sum(n for n in nets if n < 0))
    ] == [169_644, 103_425, 112_121, 45_902]


def test_the_sun_shines_at_noon(citylearn_cache: Path) -> None:
    pv = citylearn.load_home(citylearn_cache, 1).pv_milli_wh
    by_hour = [sum(pv[hour::24]) for hour in range(24)]
    assert by_hour.index(max(by_hour)) == 12
    assert by_hour[0] == 0


def test_the_grid_is_dear_in_the_evening(citylearn_cache: Path) -> None:
    grid = citylearn.load_grid(citylearn_cache)
    assert len(grid.price_micro) == len(grid.carbon_mg) == 8760
    evening = {price for hour in range(16, 21) for price in grid.price_micro[hour::24]}
    others = {price for hour in range(16) for price in grid.price_micro[hour::24]}
    assert (min(evening), max(others)) == (400_000, 220_000)
    assert (min(grid.carbon_mg), max(grid.carbon_mg)) == (70_383, 281_796)


def test_a_second_fetch_downloads_nothing(
    citylearn_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    said: list[str] = []
    assert citylearn.fetch(citylearn_cache, said.append) == citylearn_cache
    assert len(said) == 1


def test_a_flipped_bit_is_seen_and_mended(
    citylearn_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = citylearn_cache / "citylearn-challenge-2022"
    directory = tmp_path / source.name
    directory.mkdir()
    for path in source.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    damaged = directory / "home-05.bin"
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(LocalError, match="damaged"):
        citylearn.load_home(tmp_path, 5)
    citylearn.fetch(tmp_path)
    assert damaged.read_bytes() == good
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize("number", [-1, 0, 18])
def test_there_are_seventeen_homes(tmp_path: Path, number: int) -> None:
    with pytest.raises(LocalError, match="1 to 17"):
        citylearn.load_home(tmp_path, number)


def test_without_a_network_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "0",
        "PIP_TIMEOUT": "1",
        "PIP_NO_CACHE_DIR": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LocalError, match="check the network") as refusal:
        citylearn.fetch(tmp_path)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_another_wheel_than_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forge(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        directory = Path(command[command.index("--dest") + 1])
        (directory / "CityLearn-2.1.2-py3-none-any.whl").write_bytes(b"forged")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", forge)
    with pytest.raises(LocalError, match="do not use it"):
        citylearn.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="IOE_DATA"):
        citylearn.fetch(tmp_path / "file" / "cache")


def test_the_default_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOE_DATA", "/somewhere")
    assert citylearn.default_cache_dir() == Path("/somewhere")
    monkeypatch.delenv("IOE_DATA")
    assert citylearn.default_cache_dir() == Path.home() / ".cache" / "ioe-node"
