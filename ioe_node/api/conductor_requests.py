"""The arguments of the requests that the doors answer, as Holochain's clients write them.

What has no place in a shape is passed over, as clients of later versions may send more; what would
change the meaning is named, so that it can be refused.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ioe_node.api.conductor_bundle import Modifiers
from ioe_node.api.conductor_frames import CellId, Name
from ioe_node.model.action import MEMBRANE_PROOF_BYTES_MAX, Hash39
from ioe_node.model.capability import CapGrant, Secret

Token = Annotated[list[Annotated[int, Meta(ge=0, le=255)]], Meta(max_length=256)] | bytes


class Authenticate(Struct):
    """The first message on an app door."""

    token: Token


MembraneProof = Annotated[bytes, Meta(max_length=MEMBRANE_PROOF_BYTES_MAX)]
Dnas = Annotated[list[Hash39], Meta(max_length=1_000)]


class CloneId(Struct, tag_field="type", tag="clone_id"):
    """A clone by its id: `role.0`."""

    value: Name


class CloneDna(Struct, tag_field="type", tag="dna_hash"):
    """A clone by its network."""

    value: Hash39


CloneCellId = CloneId | CloneDna


class CreateClone(Struct):
    """The argument of `create_clone_cell`."""

    role_name: Name
    modifiers: Modifiers
    membrane_proof: MembraneProof | None = None
    name: Annotated[str, Meta(max_length=128)] | None = None


class WhichClone(Struct):
    """The argument of `enable_clone_cell` and `disable_clone_cell`."""

    clone_cell_id: CloneCellId


class WhichDnas(Struct):
    """The argument of `agent_info`."""

    dna_hashes: Dnas | None = None


class WhichPeer(Struct):
    """The argument of `peer_meta_info`."""

    url: Annotated[str, Meta(max_length=1_024)]
    dna_hashes: Dnas | None = None


class WhichMetrics(Struct):
    """The argument of `dump_network_metrics`."""

    dna_hash: Hash39 | None = None
    include_dht_summary: bool = False


Infos = Annotated[list[Annotated[str, Meta(max_length=16_384)]], Meta(max_length=1_000)]


class FromPath(Struct, tag_field="type", tag="path"):
    """A bundle in a file of this machine."""

    value: Annotated[str, Meta(max_length=4_096)]


class FromBytes(Struct, tag_field="type", tag="bytes"):
    """A bundle that came along."""

    value: bytes


class Provisioned(Struct):
    """What a role is given at its installation."""

    membrane_proof: MembraneProof | None = None
    modifiers: Modifiers | None = None
    init_properties: Any = None


class ProvisionedRole(Struct, tag_field="type", tag="provisioned"):
    """A role that gets a cell of its own."""

    value: Provisioned


class UseExisting(Struct, tag_field="type", tag="use_existing"):
    """A role that would share another app's cell."""

    value: Any


class InstallApp(Struct):
    """The argument of `install_app`."""

    source: FromPath | FromBytes
    agent_key: Hash39 | None = None
    installed_app_id: Name | None = None
    network_seed: Name | None = None
    roles_settings: dict[Name, ProvisionedRole | UseExisting] | None = None


class WhichApp(Struct):
    """The argument of what is asked of one app."""

    installed_app_id: Name


class ListApps(Struct):
    """The argument of `list_apps`."""

    status_filter: Literal["enabled", "disabled", "running", "stopped", "paused"] | None = None


class AttachInterface(Struct):
    """The argument of `attach_app_interface`."""

    allowed_origins: Annotated[str, Meta(max_length=4_096)]
    port: Annotated[int, Meta(ge=0, le=65_535)] | None = None
    installed_app_id: Name | None = None


class IssueToken(Struct):
    """The argument of `issue_app_authentication_token`."""

    installed_app_id: Name
    expiry_seconds: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    single_use: bool | None = None


class AllFunctions(Struct, tag_field="type", tag="all"):
    """A grant of every function."""


class ListedFunctions(Struct, tag_field="type", tag="listed"):
    """A grant of (zome, function) pairs."""

    value: Annotated[list[tuple[Name, Name]], Meta(min_length=1, max_length=1_000)]


class Unrestricted(Struct, tag_field="type", tag="unrestricted"):
    """For everybody."""


class TransferableTo(Struct):
    """The secret of a transferable grant."""

    secret: Secret


class Transferable(Struct, tag_field="type", tag="transferable"):
    """For whoever knows the secret."""

    value: TransferableTo


class AssignedTo(Struct):
    """The secret of an assigned grant, and the agents who may use it."""

    secret: Secret
    assignees: Annotated[list[Hash39], Meta(min_length=1, max_length=1_000)]


class Assigned(Struct, tag_field="type", tag="assigned"):
    """For listed agents who know the secret."""

    value: AssignedTo


class Grant(Struct):
    """A capability grant as Holochain writes it."""

    tag: Annotated[str, Meta(max_length=256)]
    access: Unrestricted | Transferable | Assigned
    functions: AllFunctions | ListedFunctions

    def ours(self) -> CapGrant:
        """The same as it stands on a chain here; an empty list would mean all there."""
        functions: tuple[str, ...] = ()
        if isinstance(self.functions, ListedFunctions):
            functions = tuple(f"{zome}.{name}" for zome, name in self.functions.value)
        access = self.access
        return CapGrant(
            tag=self.tag,
            functions=functions,
            secret=None if isinstance(access, Unrestricted) else access.value.secret,
            agents=tuple(access.value.assignees) if isinstance(access, Assigned) else (),
        )


class GrantCapability(Struct):
    """The argument of `grant_zome_call_capability`."""

    cell_id: CellId
    cap_grant: Grant


class RevokeCapability(Struct):
    """The argument of `revoke_zome_call_capability`."""

    cell_id: CellId
    action_hash: Hash39


class ListGrants(Struct):
    """The argument of `list_capability_grants`."""

    installed_app_id: Name
    include_revoked: bool = False


class WhichCell(Struct):
    """The argument of `dump_state` and `dump_full_state`."""

    cell_id: CellId
    dht_ops_cursor: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class DeleteClone(Struct):
    """The argument of `delete_clone_cell`."""

    app_id: Name
    clone_cell_id: CloneCellId


class AddInfos(Struct):
    """The argument of `add_agent_info`."""

    agent_infos: Infos
