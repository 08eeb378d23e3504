"""Leaving for other simulators and runtimes."""
