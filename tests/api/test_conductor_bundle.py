"""Bundles: what we pack we unpack, and what we cannot run we refuse."""

import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioe_node.api import conductor_bundle
from ioe_node.api.conductor_bundle import BundleError, pack_app, pack_dna, unpack_app
from ioe_node.api.conductor_frames import encode


def packed(manifest: dict[str, Any], resources: dict[str, bytes] | None = None) -> bytes:
    return gzip.compress(encode({"manifest": manifest, "resources": resources or {}}))


def manifest(**role: Any) -> dict[str, Any]:
    return {"manifest_version": "0", "name": "app", "roles": [{"name": "r", "dna": role}]}


def test_what_is_packed_is_unpacked() -> None:
    app = unpack_app(pack_app("app", [("one", "a:A"), ("two", "b:B")], 3, True))
    assert (app.name, app.deferred_proofs) == ("app", True)
    assert [(r.name, r.dna, r.clone_limit) for r in app.roles] == [
        ("one", "a:A", 3),
        ("two", "b:B", 3),
    ]
    assert app.manifest["roles"][0]["name"] == "one"


def test_the_same_app_is_packed_to_the_same_bytes() -> None:
    assert pack_app("app", [("one", "a:A")], 3, True) == pack_app("app", [("one", "a:A")], 3, True)


def test_a_dna_bundle_names_the_dna_and_may_amend_it() -> None:
    modifiers = {"network_seed": "role's"}
    app = unpack_app(
        packed(manifest(path="./x.dna", modifiers=modifiers), {"x.dna": pack_dna("a:A")})
    )
    assert app.roles[0].dna == "a:A"
    assert [each.network_seed for each in app.roles[0].modifiers] == [None, "role's"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut"),
        (b"no gzip", "no gzip"),
        (gzip.compress(b"\xc0"), "an app bundle"),
        (pack_app("a", [("r", "a:A")], 0, False)[:-1], "cut"),
        (pack_app("a", [("r", "a:A")], 0, False) + b"x", "cut, or has more"),
        (packed({**manifest(path="a:A"), "manifest_version": "9"}), "version '9'"),
        (packed(manifest(path=None)), "has no path"),
        (packed(manifest(path="a:A", clone_limit=10**6)), "clone_limit"),
        (packed({**manifest(), "roles": [{"name": "a.b", "dna": {"path": "a:A"}}]}), "full stop"),
        (packed({**manifest(), "roles": [{"name": "r", "dna": {"path": "a:A"}}] * 2}), "own"),
        (
            packed(
                {
                    **manifest(),
                    "roles": [
                        {
                            "name": "r",
                            "dna": {"path": "a:A"},
                            "provisioning": {"strategy": "use_existing"},
                        }
                    ],
                }
            ),
            "use_existing",
        ),
        (
            packed(
                manifest(path="x"),
                {
                    "x": gzip.compress(
                        encode(
                            {
                                "manifest": {"manifest_version": "0", "name": "d"},
                                "resources": {"wasm": b"\0asm"},
                            }
                        )
                    )
                },
            ),
            "brings code",
        ),
    ],
)
def test_what_cannot_be_installed_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        unpack_app(data)


def test_a_bundle_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conductor_bundle, "BUNDLE_BYTES_MAX", 100)
    with pytest.raises(BundleError, match="more than 100"):
        unpack_app(gzip.compress(bytes(1_000_000)))


@given(st.binary(max_size=300), st.integers(0, 300), st.binary(min_size=1, max_size=4))
def test_a_spoiled_bundle_is_refused_or_unpacked(body: bytes, at: int, noise: bytes) -> None:
    plain = zlib.decompress(pack_app("app", [("one", "a:A")], 3, True), wbits=31)
    for data in (body, plain[:at] + noise + plain[at + len(noise) :]):
        for each in (data, gzip.compress(data)):
            try:
                unpack_app(each)
            except BundleError:
                continue
