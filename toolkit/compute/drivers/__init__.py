"""libcloud compute drivers: subclasses of stock ones where the stock one loses data or lacks a call."""
