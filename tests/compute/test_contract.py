"""One contract, every driver: EC2 on moto, the embedded hypervisor, libvirt's test driver, libvirt in the lab."""

from __future__ import annotations

from .contract import ComputeContract


class TestContract(ComputeContract):
    """Runs once for each ``bench``."""
