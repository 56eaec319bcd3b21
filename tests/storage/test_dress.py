"""What an object wears beside its bytes: classes, grants, locks, as headers and in words."""

from __future__ import annotations

import pytest

from toolkit.model import Resource
from toolkit.storage import terms
from toolkit.storage.engine import dress
from toolkit.storage.engine.dress import Grant, Terms
from toolkit.storage.engine.faults import Fault
from toolkit.storage.identity.map import IdentityMap

ALL, AUTHENTICATED, LOG = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
    "http://acs.amazonaws.com/groups/s3/LogDelivery",
)
US, PARTNER, STRANGER = "a" * 64, "b" * 64, "c" * 64
TERMS = Terms(owner="agora", grantees={US: "agora", PARTNER: "partner"})


def test_an_object_that_only_its_owner_may_touch_needs_no_header() -> None:
    assert dress.grant_headers(US, [Grant(US, "FULL_CONTROL")], TERMS) == ({}, [])
    assert dress.grant_headers(US, [], TERMS) == ({}, [])


def test_grants_become_headers_and_strangers_are_named() -> None:
    grants = [
        Grant(US, "FULL_CONTROL"),
        Grant(ALL, "READ"),
        Grant(PARTNER, "READ"),
        Grant(PARTNER, "READ_ACP"),
        Grant(STRANGER, "READ"),
        Grant(LOG, "WRITE_ACP"),
    ]
    said, unknown = dress.grant_headers(US, grants, TERMS)
    assert said == {
        "x-amz-grant-full-control": 'id="agora"',
        "x-amz-grant-read": f'uri="{ALL}", id="partner"',
        "x-amz-grant-read-acp": 'id="partner"',
    }
    assert unknown == [f"READ to {STRANGER}", f"WRITE_ACP to {LOG}"]


def test_another_owner_of_an_object_becomes_ours() -> None:
    """What another account wrote into our bucket belongs to us at the target; its grant to us needs none."""
    said, unknown = dress.grant_headers(PARTNER, [Grant(PARTNER, "FULL_CONTROL"), Grant(US, "FULL_CONTROL")], TERMS)
    assert said == {"x-amz-grant-full-control": 'id="agora"'}
    assert unknown == []


def test_an_acl_is_read_whatever_its_namespace() -> None:
    body = f"""<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>{US}</ID></Owner>
    <AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="Group">
    <URI>{ALL}</URI></Grantee><Permission>READ</Permission></Grant><Grant><Grantee
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>{US}</ID></Grantee>
    <Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"""
    assert dress.parse_acl(body.encode()) == (US, [Grant(ALL, "READ"), Grant(US, "FULL_CONTROL")])
    with pytest.raises(Fault):
        dress.parse_acl(b'<!DOCTYPE x [<!ENTITY a "b">]><AccessControlPolicy/>')


@pytest.mark.parametrize(
    ("headers", "locked"),
    [
        ({}, False),
        ({"x-amz-object-lock-legal-hold": "ON"}, True),
        ({"x-amz-object-lock-legal-hold": "OFF"}, False),
        ({"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2999-01-01T00:00:00Z"}, True),
        (
            {"x-amz-object-lock-mode": "COMPLIANCE", "x-amz-object-lock-retain-until-date": "2001-01-01T00:00:00.000Z"},
            False,
        ),
    ],
)
def test_what_is_locked_now(headers: dict[str, str], locked: bool) -> None:
    assert dress.look(headers).locked is locked


def test_a_class_is_said_as_the_site_says_it() -> None:
    told = Terms(classes={"STANDARD_IA": "COLD", "STANDARD": "WARM", "GLACIER_IR": "STANDARD"})
    assert dress.class_header(told, dress.look({"x-amz-storage-class": "STANDARD_IA"})) == {
        "x-amz-storage-class": "COLD"
    }
    assert dress.class_header(told, dress.look({})) == {"x-amz-storage-class": "WARM"}
    assert dress.class_header(told, dress.look({"x-amz-storage-class": "GLACIER_IR"})) == {}
    assert dress.class_header(told, dress.look({"x-amz-storage-class": "ONEZONE_IA"})) == {}


def bucket(**facts: object) -> Resource:
    return Resource("storage/bucket/b", {"name": "b"}, facts=facts)


GRANTED, NONE_SEEN = {"object-acl": {"looked_at": 10, "granted": 1}}, {"object-acl": {"looked_at": 10, "granted": 0}}
CEPH = terms.Side("ceph", "agora", frozenset({"acl", "object-lock"}))
AWS = terms.Side("aws", US, frozenset({"acl", "object-lock"}))


@pytest.mark.parametrize(
    ("facts", "config", "asked"),
    [
        ({}, GRANTED, True),
        ({}, NONE_SEEN, False),
        ({}, {}, False),
        ({"grants": "each"}, NONE_SEEN, True),
        ({"grants": "none"}, GRANTED, False),
    ],
)
def test_when_each_object_is_asked_for_its_grants(facts: dict[str, object], config: dict, asked: bool) -> None:
    told = terms.decide(bucket(**facts), config, AWS, CEPH, classes={})
    assert terms.of(Resource("storage/objects/b", {}, facts={"dress": told})).ask_grants is asked


def test_terms_go_through_the_plan_unchanged() -> None:
    people = IdentityMap(ids={PARTNER: "partner"})
    told = terms.decide(
        bucket(), {**GRANTED, "object-lock": {}}, AWS, CEPH, classes={"STANDARD_IA": "COLD"}, people=people
    )
    read = terms.of(Resource("storage/objects/b", {}, facts={"dress": told}))
    assert read == Terms({"STANDARD_IA": "COLD"}, True, {PARTNER: "partner", US: "agora"}, owner="agora", locks=True)
    assert terms.of(Resource("storage/objects/b", {})) == Terms()


def test_towards_aws_only_canonical_ids_are_grantees() -> None:
    people = IdentityMap(users={"partner": PARTNER, "editor": "editor"})
    told = terms.decide(bucket(), GRANTED, CEPH, AWS, classes={}, people=people)
    assert told["grantees"] == {"partner": PARTNER, "agora": US}


def test_no_lock_where_the_target_has_none() -> None:
    plain = terms.Side("s3", "us")
    assert terms.decide(bucket(), {"object-lock": {}}, AWS, plain, classes={})["locks"] is False
