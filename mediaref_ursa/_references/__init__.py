"""References and data URIs, and how tables hold them."""
