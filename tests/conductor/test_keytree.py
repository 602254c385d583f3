"""The key tree gives the keys that it always gave, from words that cannot be mistyped. (I-106)"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.conductor import keytree
from ioe_node.conductor.keytree import MnemonicError
from ioe_node.errors import LocalError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "keytree.json").read_text())
WORDS = GOLDEN["tree"]["words"].split()

seeds = st.binary(min_size=32, max_size=32)


def test_derive_is_libsodiums_kdf() -> None:
    for row in GOLDEN["libsodium_kdf"]:
        subkey = keytree.derive(bytes(range(32)), b"KDF test", row["number"])
        assert subkey.hex() == row["subkey"]


def test_words_are_bip39s_spelling_of_the_root() -> None:
    for row in GOLDEN["bip39"]:
        root = bytes.fromhex(row["root"])
        assert keytree.to_mnemonic(root) == row["words"]
        assert keytree.from_mnemonic(row["words"]) == root


def test_the_tree_never_changes() -> None:
    """I-106: root seed with mnemonic, revocation, authorisation, device seeds, agent and app."""
    tree = GOLDEN["tree"]
    root = keytree.from_mnemonic(tree["words"])
    portfolio = keytree.portfolio_seed(root)
    device = keytree.device_seed(portfolio, 0)
    assert root.hex() == tree["root"]
    assert keytree.revocation_seed(root).hex() == tree["revocation"]
    assert keytree.authorisation_seed(root).hex() == tree["authorisation"]
    assert keytree.owner_agent_seed(root).hex() == tree["owner_agent"]
    assert keytree.owner_agent_seed(root, 1).hex() == tree["owner_agent_1"]
    assert portfolio.hex() == tree["portfolio"]
    assert keytree.portfolio_seed(root, 1).hex() == tree["portfolio_1"]
    assert device.hex() == tree["device_0"]
    assert keytree.device_seed(portfolio, 7).hex() == tree["device_7"]
    assert keytree.device_agent_seed(device).hex() == tree["device_0_agent"]
    assert keytree.device_agent(device).hex() == tree["device_0_agent_key"]
    assert keytree.hiding_key(device) == keytree.derive(device, b"ioehide_", 1)
    assert keytree.app_seed(device, 0).hex() == tree["device_0_app_0"]
    assert keytree.app_seed(device, 1).hex() == tree["device_0_app_1"]


@given(seeds)
def test_no_two_keys_of_a_tree_are_equal(root: bytes) -> None:
    portfolio = keytree.portfolio_seed(root)
    devices = [keytree.device_seed(portfolio, number) for number in range(4)]
    keys = [root, keytree.revocation_seed(root), keytree.authorisation_seed(root)]
    keys += [keytree.portfolio_seed(root, each) for each in range(4)]
    keys += [*(keytree.owner_agent_seed(root, each) for each in range(4)), *devices]
    for device in devices:
        keys += [keytree.device_agent_seed(device), keytree.hiding_key(device)]
        keys += [keytree.app_seed(device, number) for number in range(4)]
    assert len({*keys}) == len(keys)


@given(seeds, st.integers(0, 20))
def test_what_an_owner_keeps_can_neither_revoke_nor_renew(root: bytes, generation: int) -> None:
    kept = keytree.owner_secrets(root, generation)
    assert keytree.generation_of(kept) == generation
    portfolios = keytree.portfolios_of(kept)
    assert portfolios == [keytree.portfolio_seed(root, each) for each in range(generation + 1)]
    for hidden in (
        root,
        keytree.revocation_seed(root),
        keytree.owner_agent_seed(root, generation + 1),
        keytree.portfolio_seed(root, generation + 1),
    ):
        assert hidden not in [*kept.values(), *portfolios]


@given(seeds)
def test_words_and_root_are_one(root: bytes) -> None:
    words = keytree.to_mnemonic(root)
    assert len(words.split()) == 24
    assert keytree.from_mnemonic(f"  {words.upper()}\n".replace(" ", "  ")) == root


def test_new_root_seed_takes_32_bytes() -> None:
    assert keytree.new_root_seed(lambda size: b"r" * size) == b"r" * 32


def test_an_unknown_word_is_named_with_its_place() -> None:
    wrong = [*WORDS]
    wrong[6] = "abandn"
    with pytest.raises(MnemonicError, match=r"word 7, 'abandn', .* 'abandon'"):
        keytree.from_mnemonic(" ".join(wrong))


def test_a_count_and_a_swap_are_noticed() -> None:
    with pytest.raises(MnemonicError, match="24 words, not 23"):
        keytree.from_mnemonic(" ".join(WORDS[:-1]))
    with pytest.raises(MnemonicError, match="24 words, not 0"):
        keytree.from_mnemonic("")
    swapped = [WORDS[1], WORDS[0], *WORDS[2:]]
    with pytest.raises(MnemonicError, match="do not fit together"):
        keytree.from_mnemonic(" ".join(swapped))


@given(st.text(max_size=300))
def test_any_text_is_words_or_a_local_error(text: str) -> None:
    with pytest.raises(LocalError):
        keytree.from_mnemonic(text)


def test_the_keys_of_apps_outlive_a_recovery() -> None:
    """They come of no root seed, so `recovery` carries them over by hand."""
    own = keytree.owner_secrets(b"r" * 32)
    assert keytree.app_seeds(own) == {}
    made = {keytree.APP_AGENT + "uhCAk": b"s" * 32}
    assert keytree.app_seeds({**own, **made}) == made
