"""DNS drivers: libcloud subclasses that lose nothing, and the registrars beside them."""
