"""The shape of site.yaml: one model for each section, the JSON Schema made from them, and the messages.

Enters: the plain document. Leaves: troubles ``(location, text, remedy)``, all of them, or the body of a
resource with every default filled in. What one value cannot tell (does the named server exist?) is
asked in ``site_check``. Keys that begin with ``x-`` are taken out before the models look.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, model_serializer

from toolkit.model import Json
from toolkit.site_doc import is_identity
from toolkit.site_words import (
    RECORD_PATTERN,
    SLUG,
    Cidr,
    CredentialsWord,
    Date,
    Duration,
    Endpoint,
    Ip,
    Kind,
    Method,
    Peer,
    Protocol,
    RecordKey,
    Reference,
    Sha256,
    Share,
    Sink,
    Slug,
    Text,
    Ttl,
    Url,
    Version,
)
from toolkit.site_yaml import Loc

Trouble = tuple[Loc, str, str]

#: Keys of a resource that are not its body: where it comes from, and what a person decided.
BESIDE = ("provider", "id", "to", "wave", "ignore", "live", "grants", "facts", "sink")
#: Sections whose entries become resources, and sections that are kept as they are for now.
LOOSE = ("networks", "hosts", "certificates", "vendors", "outside")
_APART = (*BESIDE, "records")
_OPEN: dict[str, Any] = {"patternProperties": {"^x-": True}}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Extensible(_Strict):
    model_config = ConfigDict(json_schema_extra=_OPEN)


# Text or something else is told apart by type, so that a message speaks of the one that was meant.
_BY_TYPE = Discriminator(lambda value: "<other>" if isinstance(value, dict | list) else "<text>")
_IsText, _IsOther = Tag("<text>"), Tag("<other>")
_Texts = Annotated[Annotated[Text, _IsText] | Annotated[list[Text], _IsOther], _BY_TYPE]


class _To(_Strict):
    """Another place than the family's target, or another name or address there."""

    provider: Text | None = None
    name: Text | None = None
    address: Ip | None = None


_Place = Annotated[Annotated[Text, _IsText] | Annotated[_To, _IsOther], _BY_TYPE]


class _Placed(Extensible):
    provider: Text | None = Field(
        default=None, description="the provider it is read from; default: the family's source"
    )
    id: str = Field(default="", description="the provider's own name for it")
    to: _Place | None = None
    wave: Annotated[int, Field(ge=0)] | None = None
    ignore: Text | None = Field(default=None, description="the reason why this is not moved")
    facts: dict[str, Any] = Field(default={}, description="observed circumstances that no comparison looks at")


_NAME: Any = Field(default="", description="default: the slug")


class Payload(_Strict):
    """Bytes that stay as they are, in a file beside site.yaml."""

    file: Text = Field(exclude=True)
    sha256: Sha256


class Credentials(_Strict):
    """References to keys; never the keys."""

    key: Reference
    secret: Reference | None = None
    token: Reference | None = None


_Credentials = Annotated[Annotated[CredentialsWord, _IsText] | Annotated[Credentials, _IsOther], _BY_TYPE]
_Baseline = Annotated[Annotated[Text, _IsText] | Annotated[Payload, _IsOther], _BY_TYPE]


class _Access(_Strict):
    user: Text
    key: Reference | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None


class Provider(Extensible):
    """One account or installation."""

    kind: Kind
    endpoint: Endpoint | None = None
    regions: list[Text] = []
    credentials: _Credentials | None = None
    insecure: bool = False
    addresses: list[Ip] | None = Field(default=None, description="storage: what names of the old endpoint become")
    nameservers: dict[str, Text] | None = Field(default=None, description="dns: name server → address[:port]")
    pool: Cidr | None = Field(default=None, description="compute: static addresses for servers")
    admin: _Credentials | None = Field(default=None, description="ceph: who may make users; default: `credentials`")
    loader: _Credentials | None = Field(
        default=None, description="ceph: a --system user that may choose version ids, used for the load alone"
    )
    topics: dict[Text, Text] | None = Field(
        default=None, description="storage: ARN of a topic, queue or function of the old side → topic here"
    )
    storage_classes: dict[Text, Text] | None = Field(
        default=None, description="storage: storage class of the old side → class here"
    )
    access: _Access | None = Field(default=None, description="compute: how to reach created guests by ssh")
    images: dict[str, Any] | None = Field(
        default=None, description="compute: image name → disk, kernel, initrd, cmdline"
    )
    network: dict[str, Any] | None = Field(default=None, description="compute: bridge, gateway, prefix, nameserver")
    family: Literal["storage", "dns", "compute"] | None = Field(default=None, description="libcloud: which of its APIs")
    driver: Text | None = Field(default=None, description="libcloud: the name of the driver")
    args: dict[str, Any] | None = Field(default=None, description="libcloud: arguments of the driver")


class Move(_Strict):
    """Where a family comes from and where it goes."""

    source: _Texts | None = Field(default=None, alias="from")
    target: Text | None = Field(default=None, alias="to")


class Moves(_Strict):
    storage: Move | None = None
    dns: Move | None = None
    compute: Move | None = None
    database: Move | None = Field(default=None, description="default: follows compute")


class Live(_Strict):
    """How a bucket in use is moved."""

    freeze: Literal["policy", "none"] = Field(
        default="policy",
        description="how the cut-over stops writing at the source: a Deny in its policy, or not at all",
    )
    max_removed: Share = Field(
        default="10%",
        description="of the target's objects, so many may be removed unasked because the source lost them",
    )


class Bucket(_Placed):
    name: Text = _NAME
    versioning: Literal["enabled", "suspended", "off"] = "off"
    live: Live | None = Field(default=None, description="how it is moved while it is in use")
    grants: Literal["auto", "each", "none"] = Field(
        default="auto",
        description="ACLs of objects: ask each (a request more), none, or each only where a sample shows grants",
    )


class Identity(_Placed):
    """Who may do what in the buckets: a user, a role, or another account that is named in policies and grants."""

    kind: Literal["user", "role", "account"]
    name: Text = _NAME
    policies: dict[str, dict[str, Any]] = Field(default={}, description="policy documents by name, groups' included")
    owns: list[Text] = Field(default=[], description="buckets it owns, where users and not accounts own them")
    canonical_id: Text | None = Field(default=None, description="its id in ACLs")
    own: bool = Field(default=False, description="account: the one that owns the buckets")
    sink: Sink | None = Field(default=None, description="where its new keys go; they are shown nowhere else")


class Keypair(_Placed):
    name: Text = _NAME
    type: Literal["rsa", "ed25519"]
    public_key: str = ""


class Rule(_Strict):
    direction: Literal["ingress", "egress"] = "ingress"
    protocol: Protocol
    ports: Annotated[list[Annotated[int, Field(ge=-1, le=65535)]], Field(min_length=2, max_length=2)] | None = None
    peers: list[Peer] = []
    description: str = ""


class Firewall(_Placed):
    name: Text = _NAME
    description: str = ""
    rules: list[Rule] = []


class Size(_Strict):
    name: Text | None = None
    vcpus: Annotated[int, Field(ge=1)]
    memory_mib: Annotated[int, Field(ge=1)]
    arch: Text = "x86_64"

    @model_serializer(mode="wrap")
    def _without_absent_name(self, handler: Any) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        if self.name is None:
            found.pop("name", None)
        return found


class Image(_Strict):
    name: str


class Disk(_Strict):
    device: Text
    gib: Annotated[int, Field(ge=1)]
    type: str = ""


class Addresses(_Strict):
    private: list[Ip] = []
    public: list[Ip] = []


class App(_Strict):
    """What runs on the server: started as it is, without a shell, where servers are processes."""

    argv: Annotated[list[str], Field(min_length=1)]
    files: dict[str, Payload] = {}
    env: dict[str, str] = {}
    env_file: Text | None = None
    workdir: Text | None = None
    health: Annotated[str, Field(pattern="^/")] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None


class Server(_Placed):
    name: Text = _NAME
    size: Size
    image: Image
    user_data: Payload | None = None
    keypair: Text | None = None
    firewalls: list[Text] = []
    disks: list[Disk] = []
    addresses: Addresses = Addresses()
    tags: dict[str, str] = {}
    app: App | None = None


class Listener(_Strict):
    port: Annotated[int, Field(ge=1, le=65535)]
    protocol: Text
    to_port: Annotated[int, Field(ge=1, le=65535)]


class LoadBalancer(_Placed):
    name: Text = _NAME
    listeners: list[Listener] = []
    targets: list[Text] = []


class Database(_Placed):
    kind: Literal["sqlite", "postgresql", "mysql"]
    at: Text
    path: Text | None = None
    dump: list[Text] | None = None
    restore: list[Text] | None = None
    freeze: list[Text] | None = None
    thaw: list[Text] | None = None
    tables: list[Text] = []


class Alias(_Strict):
    name: Text
    zone_id: str = ""
    evaluate_health: bool = False


class Record(_Placed):
    ttl: Ttl = None
    values: Annotated[list[Text], Field(min_length=1)] | None = None
    alias: Alias | None = None
    routing: dict[str, Any] | None = None


class Zone(_Placed):
    name: Text = _NAME
    private: bool = False
    records: dict[RecordKey, Record] = Field(default={}, exclude=True)


class Expect(_Strict):
    status: Annotated[int, Field(ge=100, le=599)] = 200
    headers: dict[str, str] = {}
    sha256: Any = Field(default=None, description="a digest, or `baseline`: what the source answered")
    json_: Any = Field(default=None, alias="json")


class Step(_Strict):
    method: Method = "GET"
    url: Url
    auth: Reference | None = None
    headers: dict[str, str] = {}
    body: Any = None
    expect: Expect = Expect()
    save: dict[str, Text] = {}


class Journey(Extensible):
    name: Text
    steps: Annotated[list[Step], Field(min_length=1)]
    baseline: _Baseline | None = None


class Logins(Extensible):
    method: Method = "POST"
    url: Url
    headers: dict[str, str] = {}
    body: Any = None
    accounts: Payload
    expect: Expect = Expect()


class Accept(Extensible):
    what: Text
    why: Text
    who: Text
    until: Date
    expect: Annotated[int, Field(ge=0)] | None = None


class Objectives(Extensible):
    rto: Duration | None = None
    rpo: Duration | None = None
    notice: Duration | None = None
    freeze: Duration | None = Field(default=None, description="so long may writing stop at the cut-over")


Loose = dict[str, dict[str, Any]]
# Identities of other kinds (single sign-on, directories) are kept as they are.
_AnyIdentity = Annotated[
    Annotated[Identity, Tag("<other>")] | Annotated[dict[str, Any], Tag("<loose>")],
    Discriminator(lambda value: "<other>" if is_identity(value) else "<loose>"),
]


class Site(Extensible):
    """The site definition: what there is, where it goes, and what proves that it works."""

    rehost: Version
    name: Slug
    providers: dict[Slug, Provider] = {}
    move: Moves = Moves()
    groups: dict[Slug, list[Text]] = {}
    buckets: dict[Slug, Bucket] = {}
    zones: dict[Slug, Zone] = {}
    servers: dict[Slug, Server] = {}
    firewalls: dict[Slug, Firewall] = {}
    keypairs: dict[Slug, Keypair] = {}
    load_balancers: dict[Slug, LoadBalancer] = {}
    networks: Loose = {}
    hosts: Loose = {}
    identities: dict[Slug, _AnyIdentity] = {}
    databases: dict[Slug, Database] = {}
    certificates: Loose = {}
    vendors: Loose = {}
    outside: Loose = {}
    journeys: list[Journey] = []
    logins: Logins | None = None
    accept: list[Accept] = []
    objectives: Objectives = Objectives()


MODELS: Mapping[str, type[_Placed]] = {
    "buckets": Bucket,
    "zones": Zone,
    "servers": Server,
    "firewalls": Firewall,
    "keypairs": Keypair,
    "load_balancers": LoadBalancer,
    "databases": Database,
    "identities": Identity,
}


@cache
def _adapter(model: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def schema() -> dict[str, Json]:
    """Return the JSON Schema (draft 2020-12) of site.yaml."""
    made = _adapter(Site).json_schema(by_alias=True)
    for section in ("providers", "groups", *MODELS):
        made["properties"][section]["propertyNames"] = {"pattern": f"^{SLUG}$"}
    made["$defs"]["Zone"]["properties"]["records"]["propertyNames"] = {"pattern": RECORD_PATTERN}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "rehost.site/1",
        **made,
        "title": "rehost site definition",
    }


def body(section: str, slug: str, entry: Mapping[str, Json]) -> dict[str, Json]:
    """Return the body of a checked entry: defaults filled in, what stands beside it left out."""
    model = MODELS[section]
    made = model.model_validate(
        {key: value for key, value in entry.items() if key in model.model_fields and key not in _APART}
    )
    found: dict[str, Json] = made.model_dump(exclude=set(BESIDE), by_alias=True)
    if "name" in found:
        found["name"] = found["name"] or slug
    return found
