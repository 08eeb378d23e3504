"""Leave for, and come from, other simulators and attack libraries."""

from robustsnn.deploy.interop import from_snntorch, from_spikingjelly

__all__ = ["from_snntorch", "from_spikingjelly"]
