"""What lets several processes train one network: its loss as a module, its batch norms over all of their images."""

from torch import Tensor, nn

from robustsnn.compute import rewire
from robustsnn.compute.norm import Synchronised, exact
from robustsnn.training.objectives import Pass


class Loss(nn.Module):
    """A loss of the network as a module, so that an engine that wraps modules (DDP, precision) sees a single forward."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, loss: Pass) -> Tensor:
        return loss(self.net)


def synchronised(net: nn.Module) -> nn.Module:
    """A view whose batch norms see the images of all processes.

    Raises:
        ValueError: a batch norm over anything but images.
    """

    def swap(name: str, module: nn.Module) -> nn.Module | None:
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            return None
        if not isinstance(module, nn.BatchNorm2d):
            raise ValueError(f"{name} is a {type(module).__name__}: several processes can train nn.BatchNorm2d only; use one")
        return exact(module, Synchronised)

    return rewire(net, swap)
