"""Real servers on one Debian machine: Ceph, PowerDNS, libvirt and sshd in namespaces of their own.

A lab is a folder and one namespace tree. ``up`` starts it, ``down`` (or killing it) leaves nothing
behind, ``enter`` runs a command inside, where the addresses 10.77.0.x are. Needs root and Debian 12.
"""

from toolkit.rehearsal.lab.debian import install_packages, missing_packages, packages
from toolkit.rehearsal.lab.guest_image import GuestImage, cache_folder, image
from toolkit.rehearsal.lab.info import LabInfo
from toolkit.rehearsal.lab.lifecycle import MIN_PART, PARTS, down, enter, status, up
from toolkit.rehearsal.lab.preflight import doctor

__all__ = [
    "MIN_PART",
    "PARTS",
    "GuestImage",
    "LabInfo",
    "cache_folder",
    "doctor",
    "down",
    "enter",
    "image",
    "install_packages",
    "missing_packages",
    "packages",
    "status",
    "up",
]
