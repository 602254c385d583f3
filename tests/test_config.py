"""The config file: a mistake is one line that names its key."""

import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.conductor.check import check
from ioe_node.config import DEVICE_TEMPLATE, TEMPLATE, Config, load_config, parse_config
from ioe_node.errors import ConfigError

OWNER = 'role = "owner"\n'
DEVICE = """\
role = "device"
[device]
kind = "generator"
name = "roof"
driver = "ioe_node.drivers.profile:Profile"
[device.options]
sources = ["home:1"]
"""
SHELLY = DEVICE.replace("profile:Profile", "shelly:Shelly").replace('sources = ["home:1"]', "{}")
MARKET_APP = DEVICE + '[[app]]\nname = "demand"\nfeed = "market"\n'
BOOTSTRAP = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWCz798EbaPReQxJgLttXDEm3F1LvznD63H5SGSLsCmDZW"


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        check(parse_config(text, "config.toml"))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_templates_are_good_as_they_are_written() -> None:
    text = TEMPLATE.format(
        role="device",
        arc="full",
        listen="/ip4/127.0.0.1/tcp/4001/ws",
        bootstrap=f'"{BOOTSTRAP}"',
        mdns="127.0.0.1",
        http_port=8080,
    )
    text += DEVICE_TEMPLATE.format(
        kind="generator",
        name='"roof"',
        driver='"ioe_node.drivers.shelly:Shelly"',
        options='url = "http://192.0.2.7"',
    )
    config = parse_config(text, "config.toml")
    check(config)
    assert config.device is not None
    assert (config.device.name, config.device.visibility) == ("roof", "public")
    assert config.network.bootstrap == (BOOTSTRAP,)
    assert config.schedule[0].every_ms == 60_000


def test_every_key_that_may_be_set_is_in_a_template() -> None:
    """Those that are not are for tests and unusual machines; naming them here keeps count."""
    shown = TEMPLATE + DEVICE_TEMPLATE
    hidden = {"discovery", "control_port", "code"}
    for shape in (
        Config,
        *(Config.__annotations__[name] for name in ("network", "limits", "reputation", "api")),
    ):
        for name in shape.__struct_fields__:
            assert name in hidden or name in shown, name


def test_the_smallest_owner_and_a_full_one_are_good() -> None:
    check(parse_config(OWNER, "config.toml"))
    full = OWNER + f'control_port = 7000\n[network]\nbootstrap = ["{BOOTSTRAP}"]\n'
    full += '[api]\nhttp = "[::1]:0"\nnames = ["home.example"]\n'
    check(parse_config(OWNER + '[api]\nhttp = ""', "config.toml"))
    full += (
        '[alerts]\ncommand = ["true", "x"]\nwebhook = "https://host.example:8443/alerts?who=me"\n'
    )
    check(parse_config(full, "config.toml"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('rolle = "owner"', "rolle"),
        ("", "role"),
        ("role = 1", "$.role"),
        ('role = "boss"', "boss"),
        ('role = "owner', "not TOML"),
        (OWNER + "[network]\nlisten = 1", "$.network.listen"),
        (OWNER + "[network]\nlisten = []", "$.network.listen"),
        (OWNER + '[network]\nlisten = ["0.0.0.0:80"]', "network.listen: '0.0.0.0:80'"),
        (OWNER + '[network]\nlisten = ["/ip4/192.0.2.7/tcp/70000"]', "network.listen: '/ip4"),
        (OWNER + '[network]\nlisten = ["/ip4/300.1.1.1/tcp/1"]', "network.listen: '/ip4"),
        (OWNER + '[network]\nlisten = ["/ip6/192.0.2.7/tcp/1"]', "network.listen: '/ip6"),
        (OWNER + '[network]\nlistn = ["x"]', "listn"),
        (OWNER + '[network]\nmdns = ["lo"]', "network.mdns"),
        (OWNER + '[network]\nbootstrap = ["/ip4/127.0.0.1/tcp/1"]', "network.bootstrap"),
        (OWNER + "control_port = 70000", "$.control_port"),
        (OWNER + "control_port = true", "$.control_port"),
        (OWNER + 'synchronous = "OFF"', "OFF"),
        (OWNER + 'dnas = ["dna.neighborhood:DNA"]', "dnas: 'dna.neighborhood:DNA'"),
        (OWNER + 'dnas = ["dna.neighbourhood:Properties"]', "is no DNA"),
        (OWNER + 'discovery = "discovery.meeting"', "discovery: 'discovery.meeting'"),
        (OWNER + '[device]\nkind = "storage"\nname = "x"\ndriver = "x"', "[device]"),
        ('role = "device"', "[device]"),
        (DEVICE.replace('kind = "generator"\n', ""), "kind"),
        (DEVICE.replace("generator", "generater"), "generater"),
        (DEVICE.replace('"roof"', '""'), "$.device.name"),
        (DEVICE.replace('"roof"', '"a\\nb"'), "device.name"),
        (DEVICE.replace("[device.options]", "poll_ms = 1\n[device.options]"), "$.device.poll_ms"),
        (DEVICE.replace("[device.options]", 'code = "12"\n[device.options]'), "device.code"),
        (DEVICE.replace("[device.options]", 'confirm = "x"\n[device.options]'), "device.confirm"),
        (OWNER + '[alerts]\ncommand = "true"', "$.alerts.command"),
        (OWNER + '[alerts]\ncommand = ["no-such-program"]', "alerts.command"),
        (OWNER + '[alerts]\nwebhook = "ftp://host"', "alerts.webhook"),
        (OWNER + '[alerts]\nwebhook = "https://"', "alerts.webhook"),
        (OWNER + "[api]\nhttp = 8080", "$.api.http"),
        (OWNER + '[api]\nhttp = "8080"', "api.http"),
        (OWNER + '[api]\nhttp = "localhost:8080"', "api.http"),
        (OWNER + '[api]\nhttp = "127.0.0.1:70000"', "api.http"),
        (OWNER + '[api]\nhttp = "192.0.2.7:8080"', "tls_cert"),
        (OWNER + '[api]\nhttp = "0.0.0.0:8080"', "tls_cert"),
        (OWNER + '[api]\nhttp = "[::]:8080"', "tls_cert"),
        (OWNER + '[api]\ntls_cert = "cert.pem"', "tls_key"),
        (OWNER + '[api]\ntls_cert = "no.pem"\ntls_key = "no.pem"', "openssl req"),
        (OWNER + "[api]\nrequests_per_s = 0", "$.api.requests_per_s"),
        (DEVICE.replace("profile:Profile", "profil:Profile"), "device.driver"),
        (DEVICE.replace("profile:Profile", "profile:Source"), "device.driver"),
        (DEVICE.replace("sources", "source"), "source"),
        (DEVICE.replace('["home:1"]', '"home:1"'), "sources"),
        (SHELLY.format("ur = 1"), "device.options: driver shelly"),
        (SHELLY.format("url = 1"), "$.url"),
        (
            DEVICE + '[[schedule]]\nzome = "currency"\nfunction = "sel"\nevery_ms = 1000',
            "currency.sel",
        ),
        (DEVICE + '[[schedule]]\nzome = "currency"\nevery_ms = 1000', "function"),
        (MARKET_APP + '[app.options]\npath = "x"', "feed 'market' takes no options"),
        (MARKET_APP.replace("market", "markt"), "'markt' cannot be loaded"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_key(text: str, named: str) -> None:
    assert named in refusal(text)


def test_an_app_may_have_the_communitys_market_for_a_feed() -> None:
    check(parse_config(MARKET_APP, "config.toml"))


@given(st.text(max_size=200))
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        parse_config(text, "config.toml")


def test_a_file_that_is_missing_or_no_text_says_what_writes_one(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match="ioe init"):
        load_config(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.toml"):
        load_config(path)
    path.write_text(OWNER)
    assert load_config(path).role == "owner"
    assert tomllib.loads(OWNER) == {"role": "owner"}
