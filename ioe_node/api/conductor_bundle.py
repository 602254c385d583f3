"""App bundles: gzip of a msgpack map `{manifest, resources}`, as Holochain packs them.

Our DNAs are Python that the owner has named under `dnas` in the config, so a bundle only says
which of them a role is, and with which modifiers.  A role's `dna.path` is that dotted name, or
names a resource: a DNA bundle (gzip of the same form) whose manifest's `name` is the dotted name
and whose `integrity` may set a `network_seed` and `properties`.  Code in a bundle is refused
rather than passed over: who packed it believes that it runs.
"""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ioe_node.api.conductor_frames import Name, decode_as
from ioe_node.errors import CallError, Malformed
from ioe_node.model.codec import encode

BUNDLE_BYTES_MAX = 16 * 1024 * 1024
"""Packed or not: a bundle of ours is some hundred bytes."""
MANIFEST_BYTES_MAX = 65_536
ROLES_MAX = 64
CLONES_MAX = 1_000
SETTLED_VERSION = "0"

Seed = Annotated[str, Meta(max_length=256)]


class BundleError(CallError):
    """A bundle that cannot be installed; the text says what to change in it."""


class Modifiers(Struct):
    """What makes another network of the same rules; None leaves it as it is."""

    network_seed: Seed | None = None
    properties: Any = None


class RoleDna(Struct):
    """Which DNA a role runs."""

    path: Annotated[str, Meta(max_length=256)] | None = None
    modifiers: Modifiers | None = None
    installed_hash: Any = None
    clone_limit: Annotated[int, Meta(ge=0, le=CLONES_MAX)] = 0


class Provisioning(Struct):
    """Whether a role has a cell of its own, or none but clones."""

    strategy: Literal["create", "clone_only", "use_existing", "create_if_no_exists"] = "create"
    deferred: bool = False


class RoleManifest(Struct):
    """One role of an app."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    dna: RoleDna
    provisioning: Provisioning | None = None


class AppManifest(Struct):
    """The manifest of an app."""

    manifest_version: Name
    name: Name
    roles: Annotated[list[RoleManifest], Meta(max_length=ROLES_MAX)]
    allow_deferred_memproofs: bool = False


class _Integrity(Struct):
    network_seed: Seed | None = None
    properties: Any = None
    zomes: tuple[Any, ...] = ()


class _DnaManifest(Struct):
    manifest_version: Name
    name: Name
    integrity: _Integrity = msgspec.field(default_factory=_Integrity)


class _Bundle(Struct):
    manifest: msgspec.Raw
    resources: dict[str, bytes] = {}


class PlannedRole(Struct, frozen=True):
    """What a bundle asks for in one role."""

    name: str
    dna: str
    modifiers: tuple[Modifiers, ...]
    clone_limit: int
    clone_only: bool


class PlannedApp(Struct, frozen=True):
    """What a bundle asks for; `manifest` as it came, to be shown again."""

    name: str
    roles: tuple[PlannedRole, ...]
    deferred_proofs: bool
    manifest: dict[str, Any]


def unpack_app(data: bytes) -> PlannedApp:
    """What an app bundle asks for; raises `BundleError`."""
    bundle = _unpack(data, "an app bundle")
    manifest = _decode(AppManifest, bundle.manifest, "the app's manifest")
    _check_version(manifest.manifest_version)
    names = [role.name for role in manifest.roles]
    if len(set(names)) != len(names) or any("." in name for name in names):
        raise BundleError("each role of an app has a name of its own, without a full stop")
    return PlannedApp(
        manifest.name,
        tuple(_role(role, bundle.resources) for role in manifest.roles),
        manifest.allow_deferred_memproofs,
        _plain(bundle.manifest),
    )


def _plain(manifest: msgspec.Raw) -> dict[str, Any]:
    """A manifest as it is kept and shown again."""
    plain: dict[str, Any] = _decode(dict[str, Any], manifest, "the app's manifest")
    try:
        size = len(msgspec.json.encode(plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise BundleError(f"the app's manifest: {error}") from None
    if size > MANIFEST_BYTES_MAX:
        raise BundleError(f"a manifest of {size} bytes, at most {MANIFEST_BYTES_MAX}")
    return plain


def _role(role: RoleManifest, resources: Mapping[str, bytes]) -> PlannedRole:
    strategy = role.provisioning.strategy if role.provisioning else "create"
    if strategy not in ("create", "clone_only"):
        raise BundleError(f"role '{role.name}': strategy '{strategy}' is not known here; create")
    if role.dna.path is None:
        raise BundleError(
            f"role '{role.name}' has no path; name its DNA there: package.module:NAME"
        )
    given = (role.dna.modifiers,) if role.dna.modifiers else ()
    name, modifiers = role.dna.path, given
    resource = resources.get(name, resources.get(name.removeprefix("./")))
    if resource is not None:
        bundle = _unpack(resource, f"the DNA bundle of role '{role.name}'")
        dna = _decode(_DnaManifest, bundle.manifest, f"the DNA manifest of role '{role.name}'")
        _check_version(dna.manifest_version)
        if bundle.resources or dna.integrity.zomes:
            raise BundleError(
                f"role '{role.name}' brings code, which is not run here; name a DNA of ours"
            )
        name = dna.name
        modifiers = (Modifiers(dna.integrity.network_seed, dna.integrity.properties), *given)
    return PlannedRole(role.name, name, modifiers, role.dna.clone_limit, strategy == "clone_only")


def _check_version(version: str) -> None:
    if version != SETTLED_VERSION:
        raise BundleError(f"a manifest of version '{version}'; pack it for '{SETTLED_VERSION}'")


def _unpack(data: bytes, what: str) -> _Bundle:
    try:
        inflate = zlib.decompressobj(wbits=31)
        plain = inflate.decompress(data, BUNDLE_BYTES_MAX)
    except zlib.error as error:
        raise BundleError(f"{what} is no gzip: {error}; pack it with 'ioe bundle pack'") from None
    if not inflate.eof or inflate.unused_data:
        raise BundleError(f"{what} is cut, or has more than {BUNDLE_BYTES_MAX} bytes")
    bundle: _Bundle = _decode(_Bundle, plain, what)
    return bundle


def _decode(shape: Any, data: Any, what: str) -> Any:
    try:
        return decode_as(shape, data)
    except Malformed as error:
        raise BundleError(f"{what}: {error}") from None


def _pack(manifest: Mapping[str, Any]) -> bytes:
    # The time of packing is left out: the same bundle has the same bytes.
    return gzip.compress(encode({"manifest": manifest, "resources": {}}), mtime=0)


def pack_app(
    name: str, roles: Sequence[tuple[str, str]], clone_limit: int, deferred_proofs: bool
) -> bytes:
    """The bundle of an app whose roles are (role name, dotted name of its DNA)."""
    manifest = {
        "manifest_version": SETTLED_VERSION,
        "name": name,
        "description": None,
        "roles": [
            {
                "name": role,
                "provisioning": {"strategy": "create", "deferred": False},
                "dna": {
                    "path": dna,
                    "modifiers": {"network_seed": None, "properties": None},
                    "installed_hash": None,
                    "clone_limit": clone_limit,
                },
            }
            for role, dna in roles
        ],
        "allow_deferred_memproofs": deferred_proofs,
    }
    packed = _pack(manifest)
    unpack_app(packed)
    return packed


def pack_dna(name: str) -> bytes:
    """The DNA bundle that a role's `path` may point to: a DNA's dotted name and nothing else."""
    empty: dict[str, Any] = {"network_seed": None, "properties": None, "zomes": []}
    manifest = {"manifest_version": SETTLED_VERSION, "name": name, "integrity": empty}
    return _pack({**manifest, "coordinator": {"zomes": []}})
