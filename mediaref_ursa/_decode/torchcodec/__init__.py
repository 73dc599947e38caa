"""The TorchCodec engine: runs of packets decoded as small movies."""
