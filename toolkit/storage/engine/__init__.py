"""The HTTP data plane of object storage: listing, copying, comparing, purging, over one small client."""
