"""libcloud storage drivers that lose nothing: the control plane and the door to the data plane."""
