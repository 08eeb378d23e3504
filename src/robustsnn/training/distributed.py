"""Training of one network in several processes: its loss as a module, and batch norms over the images of all processes."""

from torch import Tensor, nn

from robustsnn.compute import rewire
from robustsnn.compute.norm import Synchronised, exact
from robustsnn.training.objectives import Pass


class Loss(nn.Module):
    """A loss of the network as a module, so that engines that wrap modules (DDP, precision) see one forward pass."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, loss: Pass) -> Tensor:
        return loss(self.net)


def synchronised(net: nn.Module) -> nn.Module:
    """Return a view whose batch norms use the images of all processes. Raises ValueError for batch norms not over images."""

    def swap(name: str, module: nn.Module) -> nn.Module | None:
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            return None
        if not isinstance(module, nn.BatchNorm2d):
            raise ValueError(f"{name} is a {type(module).__name__}: train in one process, or use nn.BatchNorm2d instead")
        return exact(module, Synchronised)

    return rewire(net, swap)
