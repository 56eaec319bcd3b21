"""The mocked EC2 and load balancers: moto's, with what they drop put back.

Enters: a WSGI environment. Leaves: an answer. :func:`install` must run before the first call.
Corrections: IOPS and throughput of gp3 disks, the root disk where the image has it, a second run
with the same client token, the XML namespace that libcloud looks for, public addresses that
belong to the machines of a rehearsal, the hosted zone of a load balancer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.core.exceptions import ServiceException
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.instances import Instance
from moto.ec2.responses import EC2Response
from moto.elbv2 import urls as elbv2_urls
from moto.elbv2.models import ELBv2Backend, elbv2_backends
from moto.moto_server.werkzeug_app import BackendRequest

from toolkit.errors import NotFound
from toolkit.model import Json
from toolkit.rehearsal.mockaws_errors import Answer, error

#: The hosted zones of application load balancers; an alias record names them.
ALB_ZONES: Mapping[str, str] = {
    "us-east-1": "Z35SXDOTRQ7X7K",
    "us-east-2": "Z3AADJGX6KTTL2",
    "us-west-1": "Z368ELLRRE2KJ0",
    "us-west-2": "Z1H1FL5HABSF5",
    "eu-west-1": "Z32O12XQLNTSW2",
    "eu-central-1": "Z215JYRZR1TBD5",
}
_SHORT, _LONG = b'xmlns="http://ec2.amazonaws.com/doc/2016-11-15"', b'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'


class CorrectedEC2(EC2Backend):  # type: ignore[misc]
    """moto's EC2 state; what a launch asks for is what it gets."""

    def run_instances(
        self, image_id: str, count: int, user_data: Any, security_group_names: list[str], **kwargs: Any
    ) -> Any:
        token = kwargs.get("client_token")
        if token and token != "ABCDE":  # noqa: S105 - moto's default, which says that none was given
            for reservation in self.reservations.values():
                if getattr(reservation, "client_token", None) == token:
                    return reservation
        mappings = kwargs.pop("block_device_mappings", None) or []
        kwargs["block_device_mappings"] = self._with_root(image_id, mappings, kwargs)
        reservation = super().run_instances(image_id, count, user_data, security_group_names, **kwargs)
        reservation.client_token = token
        for instance in reservation.instances:
            for mapping in kwargs["block_device_mappings"]:
                self._rates(instance, mapping)
        return reservation

    def _with_root(
        self, image_id: str, mappings: list[dict[str, Any]], kwargs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Add the disks that the image brings, the root disk above all, where the launch does not name them."""
        if kwargs.get("launch_template") and not mappings:
            template = self._get_template_from_args(kwargs["launch_template"])
            mappings = template.data.get("BlockDeviceMappings") or []
        images = self.describe_images(filters={"image-id": image_id}) if image_id else []
        if not images:
            return mappings or [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 8, "DeleteOnTermination": True}}]
        asked = {mapping["DeviceName"] for mapping in mappings}
        brought = [disk for disk in image_disks(images[0]) if disk["DeviceName"] not in asked and disk.get("Ebs")]
        return [{**disk, "Ebs": {**disk["Ebs"], "SnapshotId": None}} for disk in brought] + mappings

    def _rates(self, instance: Any, mapping: Mapping[str, Any]) -> None:
        device = instance.block_device_mapping.get(mapping["DeviceName"])
        if device is None:
            return
        volume, asked = self.volumes[device.volume_id], mapping["Ebs"]
        if asked.get("Iops"):
            volume.iops = int(asked["Iops"])
        if volume.volume_type == "gp3":
            volume.iops = volume.iops or 3000
            volume.throughput = int(asked.get("Throughput") or 125)


def image_disks(image: Any) -> list[dict[str, Any]]:
    """Return the disks an image brings: those it was registered with, or one root disk of 8 GiB."""
    given: list[dict[str, Any]] = getattr(image, "disks", None) or []
    root = {"VolumeSize": 8, "VolumeType": "gp2", "DeleteOnTermination": True, "SnapshotId": image.ebs_snapshot.id}
    return given or [{"DeviceName": image.root_device_name, "Ebs": root}]


class CorrectedResponse(EC2Response):  # type: ignore[misc]
    """moto's request handling; a disk's throughput and an image's particulars are read as well."""

    def register_image(self) -> Any:
        answer = super().register_image()
        image = self.ec2_backend.amis[answer.result["ImageId"]]
        image.architecture = self._get_param("Architecture") or "x86_64"
        image.virtualization_type = self._get_param("VirtualizationType") or "hvm"
        image.boot_mode = self._get_param("BootMode") or image.boot_mode
        image.root_device_name = self._get_param("RootDeviceName") or image.root_device_name
        image.root_device_type, image.hypervisor = "ebs", "xen"
        image.disks = self._get_param("BlockDeviceMappings", [])
        return answer

    def _parse_block_device_mapping(self) -> list[dict[str, Any]]:
        mappings: list[dict[str, Any]] = super()._parse_block_device_mapping()
        for mapping, given in zip(mappings, self._get_param("BlockDeviceMappings", []), strict=True):
            mapping["Ebs"]["Throughput"] = (given.get("Ebs") or {}).get("Throughput")
        return mappings


class CorrectedELB(ELBv2Backend):  # type: ignore[misc]
    """moto's load balancers, in the hosted zone that AWS has for their region."""

    @property
    def _url_module(self) -> Any:
        return elbv2_urls  # moto derives it from the name of the class's module

    def create_load_balancer(self, *args: Any, **kwargs: Any) -> Any:
        balancer = super().create_load_balancer(*args, **kwargs)
        balancer.canonical_hosted_zone_id = ALB_ZONES.get(self.region_name, balancer.canonical_hosted_zone_id)
        return balancer


def install() -> None:
    """Make this process's moto use the corrected backends. Call before any EC2 call."""
    ec2_backends.backend = CorrectedEC2
    Ami.block_device_mappings = property(image_disks)
    Ami.platform_details = Instance.platform_details = "Linux/UNIX"  # moto leaves it out
    Ami.usage_operation = Instance.usage_operation = "RunInstances"
    elbv2_backends.backend = CorrectedELB


def handle(environ: dict[str, Any]) -> Answer:
    """Answer one EC2 request."""
    request = BackendRequest(environ)
    try:
        status, headers, body = CorrectedResponse()._dispatch(request, request.raw_url, request.headers)
    except ServiceException as exc:
        return error("ec2", 400, exc.code, exc.message)
    data = body if isinstance(body, bytes) else body.encode()
    return Answer(int(status), {name: str(value) for name, value in headers.items()}, data.replace(_SHORT, _LONG))


def set_public_ip(instance_id: str, address: str) -> dict[str, Json]:
    """Give an instance the public address at which its machine answers in the rehearsal."""
    for _, _, backend in list(ec2_backends.iter_backends()):
        for instance in backend.all_instances():
            if instance.id == instance_id:
                interface = instance.nics[0]
                interface.public_ip_auto_assign = False
                interface.public_ip = address or None
                return {"instance": instance_id, "ip": address}
    raise NotFound(f"there is no instance {instance_id}", "run it first")
