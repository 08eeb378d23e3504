"""Measurements that take longer than a test may; each is one command, ``python -m benchmarks.NAME``."""
