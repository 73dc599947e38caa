"""``batch_decode``: a batch of references, resolved, planned and decoded."""
