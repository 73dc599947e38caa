"""``mediaref-ursa demo``: a tour that makes its own media and checks every frame."""
