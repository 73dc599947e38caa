"""From a plan to pixels: fetching, decoding, writing into outputs."""
