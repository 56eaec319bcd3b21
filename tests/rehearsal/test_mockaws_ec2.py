"""Every correction of the mocked EC2, and the proof that stock moto still needs it."""

from __future__ import annotations

import base64
import gzip
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.rehearsal.conftest import client, client_of
from toolkit.rehearsal import mockaws

Check = Callable[[Any], None]
CHECKS: list[Check] = []


def correction(check: Check) -> Check:
    CHECKS.append(check)
    return check


def run(ec2: Any, **more: Any) -> dict[str, Any]:
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.micro", **more)
    found: dict[str, Any] = made["Instances"][0]
    return found


def disks(ec2: Any, instance: str) -> dict[str, dict[str, Any]]:
    volumes = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])["Volumes"]
    return {volume["Attachments"][0]["Device"]: volume for volume in volumes}


@correction
def rates_of_gp3_disks(ec2: Any) -> None:
    disk = {"VolumeSize": 20, "VolumeType": "gp3", "Iops": 7000, "Throughput": 400}
    made = run(ec2, BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": disk}])
    volume = disks(ec2, made["InstanceId"])["/dev/sdf"]
    assert (volume["Size"], volume["VolumeType"], volume["Iops"], volume["Throughput"]) == (20, "gp3", 7000, 400)


@correction
def a_data_disk_does_not_replace_the_root(ec2: Any) -> None:
    made = run(ec2, BlockDeviceMappings=[{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 20}}])
    root = ec2.describe_images(ImageIds=[made["ImageId"]])["Images"][0]["RootDeviceName"]
    assert set(disks(ec2, made["InstanceId"])) == {root, "/dev/sdf"}


@correction
def the_same_token_makes_no_second_machine(ec2: Any) -> None:
    token = uuid.uuid4().hex
    assert run(ec2, ClientToken=token)["InstanceId"] == run(ec2, ClientToken=token)["InstanceId"]


@correction
def the_namespace_ends_with_a_slash(ec2: Any) -> None:
    seen = []
    ec2.meta.events.register("before-parse.ec2.DescribeVpcs", lambda response_dict, **_: seen.append(response_dict))
    ec2.describe_vpcs()
    assert b'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"' in seen[0]["body"]


@correction
def a_registered_image_keeps_what_it_was_given(ec2: Any) -> None:
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 33, "VolumeType": "gp3"}}
    image = ec2.register_image(
        Name=f"own-{uuid.uuid4().hex[:8]}",
        Architecture="arm64",
        RootDeviceName="/dev/xvda",
        VirtualizationType="hvm",
        BlockDeviceMappings=[disk],
    )["ImageId"]
    (found,) = ec2.describe_images(ImageIds=[image])["Images"]
    assert (found["Architecture"], found["RootDeviceName"]) == ("arm64", "/dev/xvda")
    assert found["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 33
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t4g.micro")["Instances"][0]
    assert disks(ec2, made["InstanceId"])["/dev/xvda"]["Size"] == 33
    assert made["Architecture"] == "arm64"


@correction
def the_platform_is_told(ec2: Any) -> None:
    assert run(ec2)["PlatformDetails"] == "Linux/UNIX"


@pytest.fixture
def ec2(store: mockaws.Store) -> Any:
    return client(store, "ec2")


@pytest.fixture(scope="session")
def stock_ec2(stock: str) -> Any:
    return client_of("ec2", stock, "AKIAIOSFODNN7EXAMPLE", "none")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_corrected(ec2: Any, check: Check) -> None:
    check(ec2)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_stock_moto_needs_the_correction(stock_ec2: Any, check: Check) -> None:
    with pytest.raises((AssertionError, ClientError, KeyError, IndexError)):
        check(stock_ec2)


def test_the_public_address_is_the_rehearsals(store: mockaws.Store, ec2: Any) -> None:
    ident = run(ec2)["InstanceId"]
    store.control("public-ip", {"instance": ident, "ip": "127.22.0.16"})
    (found,) = ec2.describe_instances(InstanceIds=[ident])["Reservations"][0]["Instances"]
    assert found["PublicIpAddress"] == "127.22.0.16"
    assert found["NetworkInterfaces"][0]["Association"]["PublicIp"] == "127.22.0.16"


def test_user_data_comes_back_byte_for_byte(ec2: Any) -> None:
    payload = gzip.compress(bytes(range(256)), mtime=0)
    ident = run(ec2, UserData=payload)["InstanceId"]
    told = ec2.describe_instance_attribute(InstanceId=ident, Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(told) == payload


def test_images_of_a_name(ec2: Any) -> None:
    (image,) = ec2.describe_images(Filters=[{"Name": "name", "Values": ["debian-12-amd64"]}])["Images"]
    assert (image["Architecture"], image["RootDeviceName"], image["State"]) == ("x86_64", "/dev/xvda", "available")


def test_a_dry_run_changes_nothing(ec2: Any) -> None:
    with pytest.raises(ClientError, match="DryRunOperation"):
        run(ec2, DryRun=True)


def test_a_load_balancer_is_in_the_zone_of_its_region(store: mockaws.Store, ec2: Any) -> None:
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:2]
    name = f"lb-{uuid.uuid4().hex[:8]}"
    (made,) = client(store, "elbv2").create_load_balancer(Name=name, Subnets=subnets)["LoadBalancers"]
    assert made["CanonicalHostedZoneId"] == "Z35SXDOTRQ7X7K"
    assert made["DNSName"] == f"{name}-1.us-east-1.elb.amazonaws.com"
