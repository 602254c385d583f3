import msgspec
import pytest

from ioe_node.drivers.driver import Meter, Switch, Watch, parse_options
from ioe_node.drivers.profile import Profile
from ioe_node.drivers.shelly import Shelly
from ioe_node.errors import ConfigError


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str
    unit: int = 1


def test_options_become_the_struct() -> None:
    assert parse_options({"host": "a", "unit": 3}, Options, "brand") == Options("a", 3)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"host": "a", "uint": 3}, "uint"),
        ({"unit": 3}, "host"),
        ({"host": "a", "unit": "3"}, "unit"),
        ({"host": "a", "unit": True}, "unit"),
    ],
)
def test_a_refusal_names_driver_and_key(options: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as refusal:
        parse_options(options, Options, "brand")
    assert str(refusal.value).startswith("driver brand: ")


def test_abilities_are_seen_by_their_methods() -> None:
    assert issubclass(Shelly, Meter)
    assert issubclass(Shelly, Switch)
    assert issubclass(Shelly, Watch)
    assert issubclass(Profile, Meter)
    assert not issubclass(Profile, Watch)
    assert not issubclass(Profile, Switch)
