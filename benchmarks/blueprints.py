"""Give checkpoints of before what they lack: how their bodies are made. Tensors, recipe and metrics stay as they are.

python benchmarks/blueprints.py src/robustsnn/zoo/*.safetensors
"""

import json
import sys
from pathlib import Path

from robustsnn import LIF, PLIF, Dynamics, SpikingNetwork, models, save
from robustsnn.conversion import trace
from robustsnn.files import read_tensors
from robustsnn.names import build
from robustsnn.spiking import SURROGATES, Slot


def renew(path: Path) -> None:
    """Save a spiking network of ``robustsnn.models`` anew, the file being replaced as a whole."""
    tensors, texts = read_tensors(path)
    recipe, metrics, spiking = (json.loads(texts[name]) for name in ("recipe", "metrics", "spiking"))
    if "blueprint" in spiking or not spiking:
        return
    old = spiking["dynamics"]
    neuron = (PLIF if old.get("train_leak") else LIF)(old["leak"], old["reset"], old.get("start", 0.0))
    dynamics = Dynamics(old["timesteps"], neuron, build("surrogate", SURROGATES, old["surrogate"]), old["detach_reset"])
    body, _ = trace(models.create(**recipe["model"]), allow={"max_pool"})
    net = SpikingNetwork(body, dynamics, slots=[Slot(**slot) for slot in spiking["slots"]])
    for name, layer in net.neurons.items():
        for key, tensor in layer.tensors.items():
            tensor.data = tensors[f"body.{name}.{key}"].clone()
    net.load_state_dict(tensors)
    save(path, net, recipe, metrics)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        renew(Path(name))
