"""EC2 read completely: what stock libcloud drops must come through, and a blind reader must say so."""

from __future__ import annotations

import http.server
import threading
from typing import Any

import boto3
import pytest
from libcloud.compute.types import NodeState

from toolkit.compute.drivers.ec2 import LosslessEC2
from toolkit.compute.drivers.ec2_errors import of_client
from toolkit.compute.model import Definition, Found, Peer, differences
from toolkit.errors import AuthError, Conflict, NotFound, Refused, Throttled, Unreachable, Unsupported
from toolkit.secrets import Credentials, Secret

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM7udWetwe3kyUAP9U62vrJ+gbthtCntCmZwyCgxaVYy"


@pytest.fixture
def aws(ec2: LosslessEC2, moto_url: str) -> Any:
    """A plain client, to seed the account as others would."""
    return boto3.client(
        "ec2", region_name="us-east-1", endpoint_url=moto_url, aws_access_key_id="AKIA", aws_secret_access_key="x"
    )


def only(driver: Any, kind: Any) -> Found:
    [found] = [item for item in driver.ex_read(kind) if isinstance(item, Found)]
    return found


def run(aws: Any, name: str = "web-1", **more: Any) -> str:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
    arguments = {"ImageId": "ami-debian", "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **more}
    return str(aws.run_instances(TagSpecifications=tags, **arguments)["Instances"][0]["InstanceId"])


def test_reads_rules_completely(ec2: LosslessEC2, aws: Any) -> None:
    """One permission with a reference, a CIDR, IPv6 and a prefix list: libcloud keeps only the reference."""
    vpc = aws.describe_vpcs()["Vpcs"][0]["VpcId"]
    entries = [{"Cidr": "198.51.100.0/24"}, {"Cidr": "203.0.113.128/25"}]
    lists = aws.create_managed_prefix_list(
        PrefixListName="offices", MaxEntries=5, AddressFamily="IPv4", Entries=entries
    )
    prefix = lists["PrefixList"]["PrefixListId"]
    group = aws.create_security_group(GroupName="web", Description="w", VpcId=vpc)["GroupId"]
    permission = {
        "IpProtocol": "tcp",
        "FromPort": 80,
        "ToPort": 80,
        "IpRanges": [{"CidrIp": "203.0.113.0/24", "Description": "office"}],
        "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}],
        "PrefixListIds": [{"PrefixListId": prefix}],
        "UserIdGroupPairs": [{"GroupId": group}],
    }
    aws.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    found = next(item for item in ec2.ex_read("firewall") if isinstance(item, Found) and item.id == group)
    ingress = [rule for rule in found.body["rules"] if rule["direction"] == "ingress"]
    peers = {peer: rule["description"] for rule in ingress for peer in rule["peers"]}
    assert peers == {
        "203.0.113.0/24": "office",
        "2001:db8::/32": "",
        "198.51.100.0/24": "",
        "203.0.113.128/25": "",
        f"firewall:{group}": "",
    }
    assert all((rule["protocol"], rule["ports"]) == ("tcp", [80, 80]) for rule in ingress)


@pytest.mark.parametrize(
    ("permission", "expected"),
    [
        ({"IpProtocol": "-1"}, ("all", None)),
        ({"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1}, ("icmp", [8, -1])),
        ({"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1}, ("icmp", None)),
        ({"IpProtocol": "50", "FromPort": -1, "ToPort": -1}, ("50", None)),
        ({"IpProtocol": "udp", "FromPort": 1, "ToPort": 65535}, ("udp", [1, 65535])),
    ],
)
def test_reads_protocols(ec2: LosslessEC2, aws: Any, permission: dict[str, Any], expected: Any) -> None:
    group = aws.create_security_group(GroupName="x", Description="x")["GroupId"]
    whole = {**permission, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    aws.authorize_security_group_ingress(GroupId=group, IpPermissions=[whole])
    found = next(item for item in ec2.ex_read("firewall") if isinstance(item, Found) and item.id == group)
    [rule] = [rule for rule in found.body["rules"] if rule["direction"] == "ingress"]
    assert (rule["protocol"], rule["ports"]) == expected


def test_reads_a_server_completely(ec2: LosslessEC2, aws: Any) -> None:
    subnet = aws.describe_subnets()["Subnets"][0]["SubnetId"]
    aws.import_key_pair(KeyName="operations", PublicKeyMaterial=KEY.encode())
    group = aws.create_security_group(GroupName="web", Description="w")["GroupId"]
    ident = run(
        aws,
        InstanceType="r5.large",
        KeyName="operations",
        SecurityGroupIds=[group],
        SubnetId=subnet,
        UserData=b"\xff\x00\r\n",
        BlockDeviceMappings=[{"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}}],
    )
    extra = aws.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    aws.attach_network_interface(NetworkInterfaceId=extra, InstanceId=ident, DeviceIndex=2)
    allocation = aws.allocate_address()
    aws.associate_address(AllocationId=allocation["AllocationId"], InstanceId=ident)
    found = only(ec2, "server")
    assert found.body["size"] == {"name": "r5.large", "vcpus": 2, "memory_mib": 16384, "arch": "x86_64"}
    assert found.user_data == b"\xff\x00\r\n"
    assert found.body["image"] == {"name": "default"}
    assert found.body["keypair"] == "operations"
    assert found.body["firewalls"] == [group]
    assert allocation["PublicIp"] in found.body["addresses"]["public"]
    assert len(found.body["addresses"]["public"]) == len(set(found.body["addresses"]["public"]))
    assert len(found.body["addresses"]["private"]) == 2
    assert {"device": "/dev/sdb", "gib": 20, "type": "gp3"} in found.body["disks"]
    assert [item["index"] for item in found.facts["x-aws"]["interfaces"]] == [0, 2]
    assert found.facts["x-aws"]["public_dns"]
    node = next(iter(ec2.list_nodes()))
    assert (node.state, len(node.public_ips)) == (NodeState.RUNNING, len(set(node.public_ips)))


def test_sizes_of_one_suffix_differ(ec2: LosslessEC2, aws: Any) -> None:
    run(aws, "a", InstanceType="r5.large")
    run(aws, "b", InstanceType="c5.large")
    memory = {item.name: item.body["size"]["memory_mib"] for item in ec2.ex_read("server") if isinstance(item, Found)}
    assert memory == {"a": 16384, "b": 4096}


def test_terminated_servers_are_not_there_and_stopped_ones_are(ec2: LosslessEC2, aws: Any) -> None:
    gone, off = run(aws, "gone"), run(aws, "off")
    aws.terminate_instances(InstanceIds=[gone])
    aws.stop_instances(InstanceIds=[off])
    assert (only(ec2, "server").name, only(ec2, "server").facts["state"]) == ("off", "stopped")


def test_reads_load_balancers(ec2: LosslessEC2, aws: Any, moto_url: str) -> None:
    elb = boto3.client(
        "elbv2", region_name="us-east-1", endpoint_url=moto_url, aws_access_key_id="AKIA", aws_secret_access_key="x"
    )
    subnets = [subnet["SubnetId"] for subnet in aws.describe_subnets()["Subnets"][:2]]
    vpc = aws.describe_vpcs()["Vpcs"][0]["VpcId"]
    ident = run(aws)
    balancer = elb.create_load_balancer(Name="front", Subnets=subnets)["LoadBalancers"][0]
    group = elb.create_target_group(Name="web", Protocol="HTTP", Port=8080, VpcId=vpc)["TargetGroups"][0]
    elb.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": ident}])
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}],
    )
    found = only(ec2, "load_balancer")
    assert found.body == {
        "name": "front",
        "listeners": [{"port": 80, "protocol": "http", "to_port": 8080}],
        "targets": [ident],
    }
    assert found.facts["dns_name"] == balancer["DNSName"]


def test_firewall_round_trip(ec2: LosslessEC2) -> None:
    """Written, read back, narrowed, described anew: always exactly the rules asked for."""

    def rule(*peers: str, **more: Any) -> dict[str, Any]:
        base = {"direction": "ingress", "protocol": "tcp", "ports": [22, 22], "peers": list(peers), "description": ""}
        return {**base, **more}

    steps = [
        [rule("10.0.0.0/8", "2001:db8::/32"), rule("0.0.0.0/0", direction="egress", protocol="all", ports=None)],
        [rule("10.0.0.0/8", description="office"), rule("10.0.0.0/8", protocol="icmp", ports=None)],
        [rule("10.0.0.0/8", description="another"), rule("0.0.0.0/0", direction="egress", protocol="50", ports=None)],
        [],
    ]
    for rules in steps:
        wanted = {"name": "web", "description": "w", "rules": rules}
        ident = ec2.ex_write_firewall("compute/firewall/web", wanted, {})
        found = next(item for item in ec2.ex_read("firewall") if isinstance(item, Found) and item.id == ident)
        assert differences("firewall", wanted, found.body) == []


def test_firewalls_that_refer_to_each_other(ec2: LosslessEC2) -> None:
    def body(name: str, peer: str) -> dict[str, Any]:
        rule = {"direction": "ingress", "protocol": "all", "ports": None, "peers": [f"firewall:{peer}"]}
        return {"name": name, "description": f"group {name}", "rules": [rule]}

    peers = {"a": Peer("a", "group a"), "b": Peer("b", "group b")}
    first = ec2.ex_write_firewall("compute/firewall/a", body("a", "b"), peers)
    half = next(item for item in ec2.ex_read("firewall") if isinstance(item, Found) and item.name == "b")
    assert "digest" not in half.provenance  # created for the reference, not whole yet
    second = ec2.ex_write_firewall("compute/firewall/b", body("b", "a"), peers)
    assert half.id == second
    found = {item.id: item for item in ec2.ex_read("firewall") if isinstance(item, Found)}
    assert found[first].body["rules"][0]["peers"] == [f"firewall:{second}"]
    assert found[second].body["rules"][0]["peers"] == [f"firewall:{first}"]
    assert found[second].body["description"] == "group b"
    for ident in (first, second):
        ec2.ex_remove("firewall", ident)


def test_names_that_are_taken_are_refused(ec2: LosslessEC2, aws: Any) -> None:
    aws.create_security_group(GroupName="web", Description="somebody's")
    with pytest.raises(Conflict):
        ec2.ex_write_firewall("compute/firewall/web", {"name": "web", "description": "", "rules": []}, {})
    aws.create_key_pair(KeyName="operations")
    with pytest.raises(Conflict):
        ec2.ex_write_keypair("compute/keypair/operations", {"name": "operations", "public_key": KEY})


def server(name: str = "web-1", data: bytes | None = None, token: str = "t", **changes: Any) -> Definition:
    body = {
        "name": name,
        "size": {"name": "t3.micro", "vcpus": 2, "memory_mib": 1024, "arch": "x86_64"},
        "image": {"name": "default"},
        "tags": {},
        "disks": [],
        "addresses": {"private": [], "public": []},
    }
    return Definition(f"compute/server/{name}", {**body, **changes}, data, token=token)


def test_a_removed_server_can_be_made_again_with_the_same_token(ec2: LosslessEC2) -> None:
    first = ec2.ex_write_server(server())
    ec2.ex_remove("server", first)
    second = ec2.ex_write_server(server())
    assert second != first
    assert only(ec2, "server").id == second


def test_another_definition_of_a_running_server_is_refused(ec2: LosslessEC2) -> None:
    ec2.ex_write_server(server(data=b"one"))
    with pytest.raises(Unsupported):
        ec2.ex_write_server(server(data=b"one", tags={"changed": "yes"}))
    with pytest.raises(NotFound):
        ec2.ex_write_server(server("other", image={"name": "unknown"}))


def test_create_node_passes_bytes_and_groups(ec2: LosslessEC2, aws: Any) -> None:
    group = aws.create_security_group(GroupName="web", Description="w")["GroupId"]
    size = next(size for size in ec2.list_sizes() if size.id == "t3.micro")
    image = ec2.list_images()[0]
    node = ec2.create_node("web-1", size, image, ex_userdata=b"\xff\x00", ex_security_group_ids=[group])
    found = only(ec2, "server")
    assert (found.id, found.user_data, found.body["firewalls"]) == (node.id, b"\xff\x00", [group])


# a reader that sees nothing must say so --------------------------------------------------------


def serve(answer: bytes, status: int = 200) -> tuple[Any, str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    return found, f"http://127.0.0.1:{found.server_port}"


def driver(url: str, region: str = "us-east-1") -> LosslessEC2:
    return LosslessEC2(Credentials("keys", Secret("AKIA"), Secret("x")), endpoint=url, regions=[region])


@pytest.mark.parametrize(
    "answer",
    [
        b"<html><body>a captive portal</body></html>",
        b'<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01"><Buckets/></ListAllMyBucketsResult>',
        b'<DescribeInstancesResponse xmlns="urn:other"><reservationSet/></DescribeInstancesResponse>',
    ],
)
def test_a_blind_reader_is_not_an_empty_account(answer: bytes) -> None:
    server, url = serve(answer)
    try:
        with pytest.raises(Refused, match="blind"):
            driver(url).list_nodes()
        with pytest.raises(Refused, match="blind"):
            list(driver(url).ex_read("server"))
    finally:
        server.shutdown()


def test_an_empty_account_is_empty(ec2: LosslessEC2) -> None:
    assert ec2.list_nodes() == []
    assert list(ec2.ex_read("server")) == []


def test_the_namespace_of_any_version_is_understood(ec2: LosslessEC2, aws: Any) -> None:
    """Stock libcloud returns an empty list for moto's namespace, which lacks the last slash."""
    run(aws)
    assert [node.name for node in ec2.list_nodes()] == ["web-1"]


def test_nobody_answers() -> None:
    with pytest.raises(Unreachable):
        list(driver("http://127.0.0.1:9").ex_read("server"))


def test_unknown_region_is_refused() -> None:
    with pytest.raises(Refused):
        driver("http://127.0.0.1:9", "mars-north-1")


DENIED = b"<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors></Response>"


def test_a_denied_call_is_not_seen_rather_than_empty() -> None:
    server, url = serve(DENIED, 403)
    try:
        found = list(driver(url).ex_read("server"))
    finally:
        server.shutdown()
    assert [type(item).__name__ for item in found] == ["NotSeen"]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AuthFailure", 401, AuthError),
        ("UnauthorizedOperation", 403, AuthError),
        ("AccountProblem", 403, AuthError),
        ("RequestLimitExceeded", 503, Throttled),
        ("InvalidInstanceID.NotFound", 400, NotFound),
        ("InvalidKeyPair.Duplicate", 400, Conflict),
        ("OptInRequired", 400, Unsupported),
        ("InternalError", 500, Unreachable),
    ],
)
def test_errors_are_translated(code: str, status: int, kind: type[Exception]) -> None:
    import botocore.exceptions

    answer: Any = {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    made = of_client(botocore.exceptions.ClientError(answer, "DescribeInstances"))
    assert type(made) is kind
    assert made.remedy
