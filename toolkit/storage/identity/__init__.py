"""Who may do what: IAM users, roles and their policies, and the users of a Ceph gateway."""
