"""Checkpoints: weights, structure and recipe in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustsnn import models
from robustsnn.compute import copied
from robustsnn.compute.precision import single
from robustsnn.conversion import Blueprint, unlike
from robustsnn.files import read_tensors, write_tensors
from robustsnn.names import build, nearest, one_line
from robustsnn.spiking import NEURONS, SIGNALS, SURROGATES, Dynamics, SpikingNetwork
from robustsnn.zoo import located

FORMAT = "robustsnn-1"

_KINDS: dict[str, Mapping[str, Any]] = {"surrogate": SURROGATES, "neuron": NEURONS}
"""Tables of the values that a checkpoint may name."""

WRAPPINGS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params"),
    *("state_dict_ema", "model_ema", "ema_state_dict"),
)
"""Common names of the state dict inside a training checkpoint."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""Prefixes that DataParallel, averaged models, torch.compile, Lightning and others add to every name."""


@dataclass(frozen=True)
class Header:
    """Metadata of a checkpoint: ``kind`` ("ann" or "snn"), recipe, metrics, and for an SNN dynamics, signal and blueprint."""

    kind: str
    recipe: dict[str, Any]
    metrics: dict[str, Any]
    spiking: dict[str, Any]


def save(
    path: Path | str, net: nn.Module, recipe: Mapping[str, Any] | None = None, metrics: Mapping[str, Any] | None = None
) -> None:
    """Save a network with its recipe and metrics.

    Arguments:
        path: the file, usually ``*.safetensors``; it is replaced as a whole or not at all.
        net: an ANN body or a `SpikingNetwork`.
        recipe: JSON values; ``recipe["model"]`` holds the arguments of `robustsnn.models.create` from which `load` builds the
            body. Without it, `load` needs the body. None: the recipe that a loaded spiking network came with.
        metrics: JSON values.

    Raises:
        ValueError: ``recipe["model"]`` is not a table of arguments or makes another body, a value could not be loaded again,
            or the file cannot be written.
    """
    if isinstance(path, nn.Module):
        raise ValueError("save takes the file first: write save(path, net)")
    recipe = (net.recipe if isinstance(net, SpikingNetwork) else {}) if recipe is None else recipe
    if not isinstance(recipe.get("model", {}), Mapping):
        raise ValueError("recipe['model'] must be a table: give the arguments of models.create that make this network's body")
    spiking: dict[str, Any] = {}
    if isinstance(net, SpikingNetwork):
        spiking = {"dynamics": _written(net.dynamics), "signal": repr(net.signal), "blueprint": asdict(Blueprint.of(net))}
    if "name" in recipe.get("model", {}):  # `load` will fill this body with the tensors
        try:
            if layer := unlike(net, _check_shapes(recipe["model"], net.state_dict(), "body." if spiking else "")):
                raise ValueError(f"layer {layer!r} differs")
        except (RuntimeError, TypeError, KeyError, AttributeError, ValueError, ArithmeticError) as error:
            raise ValueError(
                f"recipe['model'] does not make the body of this network ({one_line(error)}): give the arguments of "
                "models.create that made it, or give recipe={} and pass the body to load(path, body)"
            ) from None
    header = {"kind": "snn" if spiking else "ann", "recipe": recipe, "metrics": metrics or {}, "spiking": spiking}
    try:
        texts = {name: json.dumps(value, sort_keys=True) for name, value in header.items()}
    except TypeError as error:
        raise ValueError(f"cannot write {path}: {error}; recipe and metrics may hold numbers, texts, lists, tables") from None
    write_tensors(Path(path), net.state_dict(), {"format": FORMAT, **texts})


def read_header(path: Path | str) -> Header:
    """Return the metadata of a checkpoint without building its network. Raises ValueError if the file is not a checkpoint."""
    return _header(Path(path), read_tensors(located(path))[1])


def count(path: Path | str) -> int:
    """Return the number of parameters in a checkpoint, without statistics of batch norms and normalisation."""
    no_parameters = ("running_mean", "running_var", "num_batches_tracked", "normalize.mean", "normalize.std")
    return sum(tensor.numel() for name, tensor in read_tensors(located(path))[0].items() if not name.endswith(no_parameters))


def load(path: Path | str, body: nn.Module | None = None) -> nn.Module:
    """Load the network of a checkpoint to the CPU, in eval mode. Loading never runs code that a file names.

    Arguments:
        path: the file, ``zoo:NAME`` for a network in the package, or ``hf://USER/NAME`` for one on the Hugging Face Hub.
        body: an ANN like the one that was saved or converted, needed if `robustsnn.models` did not make it; not changed.

    Raises:
        ValueError: the file is not a checkpoint of this project, its tensors do not fit its recipe, or it needs a body.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> with TemporaryDirectory() as folder:
        ...     save(f"{folder}/net.safetensors", net)
        ...     load(f"{folder}/net.safetensors", body=net)[1]
        Linear(in_features=4, out_features=2, bias=True)
    """
    tensors, texts = read_tensors(located(path))
    header = _header(Path(path), texts)
    model = header.recipe.get("model", {})
    known = model if isinstance(model, dict) else {}
    if header.kind == "snn" and header.spiking and "blueprint" not in header.spiking:
        raise ValueError(
            f"{path} was saved before checkpoints contained the structure of their bodies: add it by running "
            "'python benchmarks/blueprints.py FILE' from the source, or convert its ANN again"
        )
    _check_known(path, header.spiking.get("dynamics"))
    if body is None and "name" not in known:
        by = f", made by {known['ann']!r}, which loading does not run" if "ann" in known else ""
        raise ValueError(f"{path} lacks the code of its network{by}: use load(path, body) or --ann package.module:factory")
    if isinstance(body, type):
        raise ValueError(f"body is the class {body.__name__}, not a network: pass {body.__name__}()")
    try:
        if body is None:
            _check_shapes(model, tensors, "body." if header.kind == "snn" else "")
        with torch.device("cpu"), single():  # whatever torch's default device and type are
            net = models.create(**model) if body is None else copied(body)
            if header.kind == "snn":
                dynamics = dict(header.spiking["dynamics"])
                dynamics |= {kind: build(kind, known, dynamics[kind]) for kind, known in _KINDS.items()}
                signal = build("signal", SIGNALS, header.spiking["signal"])
                net = Blueprint(**header.spiking["blueprint"]).built(net, Dynamics(**dynamics), signal)
                net.recipe = header.recipe
        net.load_state_dict(tensors)
    except (RuntimeError, TypeError, LookupError, AttributeError, ValueError, ArithmeticError, MemoryError) as error:
        advice = "restore the file from where it came" if body is None else "pass a body like the one that was saved"
        raise ValueError(f"the tensors of {path} do not fit its recipe ({one_line(error)}): {advice}") from None
    return net.eval()


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Return the named tensors of any weights file: safetensors, or a ``.pt`` or ``.pth`` state dict.

    A state dict inside another one, under one of `WRAPPINGS`, is unwrapped. Nothing in the file is executed. Raises ValueError
    if the file does not exist, holds several state dicts, or holds anything but tensors.
    """
    path = Path(path)
    found: Any = read_tensors(path)[0] if path.suffix == ".safetensors" else _unpickled(path)
    while isinstance(found, Mapping) and (inner := [key for key in WRAPPINGS if isinstance(found.get(key), Mapping)]):
        if len(inner) > 1:
            raise ValueError(f"{path} holds several state dicts ({', '.join(inner)}): save the one you mean on its own")
        found = found[inner[0]]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path} does not hold a state dict of tensors: save one with torch.save(net.state_dict(), path)")
    return {str(name): value for name, value in found.items() if name != "n_averaged"}  # the counter of averaged models


def _unpickled(path: Path) -> Any:
    """Return the content of a ``.pt`` or ``.pth`` file if it consists of tensors only."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(f"cannot read weights from {path}: {error.strerror or error}; check the path") from None
    except Exception as error:
        raise ValueError(
            f"cannot read weights from {path}: it is damaged, or holds more than tensors, which loading does not run "
            f"({type(error).__name__}); save them with torch.save(net.state_dict(), path), or as safetensors"
        ) from None


def import_published(net: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Fill a body of this package, or its `SpikingNetwork`, in place with weights in the layout of the published code.

    That code names tensors ``features.N`` and ``classifier.N`` by position, like this package, and thresholds ``v_th``;
    normalisation is not part of its networks. `PREFIXES` that all names share are removed. Raises ValueError if names or
    shapes do not fit.
    """
    head, own = "body." if isinstance(net, SpikingNetwork) else "", net.state_dict()
    renamed = {head + name.replace(".v_th", ".threshold"): value for name, value in tensors.items()}
    while not own.keys() & renamed.keys():
        prefix = next((head + each for each in PREFIXES if all(name.startswith(head + each) for name in renamed)), "")
        if not prefix or not renamed:
            break
        renamed = {head + name.removeprefix(prefix): value for name, value in renamed.items()}
    given = {name for name in own if not name.endswith(("normalize.mean", "normalize.std", "num_batches_tracked"))}
    if missing := sorted(given - set(renamed)):
        first = {name.partition(".")[0] for name in tensors}
        also = f" All their names begin with '{first.pop()}.': remove it if a wrapper added it" if len(first) == 1 else ""
        raise ValueError(
            f"the weights lack {missing[0]!r} and {len(missing) - 1} more: use weights of this architecture.{also}"
        )
    if damaged := [name for name, value in renamed.items() if not value.isfinite().all()]:
        raise ValueError(f"the weights contain NaN or infinity in {damaged[0]!r}: train that network again")
    for name, value in renamed.items():
        if name not in own or own[name].shape != value.shape:
            here = list(own[name].shape) if name in own else "no such tensor"
            raise ValueError(f"the weights do not fit this architecture: {name} is {list(value.shape)}, expected {here}")
    net.load_state_dict(own | renamed)
    return net


def _written(dynamics: Dynamics) -> dict[str, Any]:
    """Return dynamics as a header stores them. Raises ValueError if `load` could not read them."""
    texts = {"surrogate": repr(dynamics.surrogate), "neuron": repr(dynamics.neuron)}
    otherwise = {"surrogate": ", or save net.replace(surrogate=Triangle(1.0)), whose spikes are the same", "neuron": ""}
    for kind, known in _KINDS.items():
        try:
            build(kind, known, texts[kind])
        except ValueError:
            raise ValueError(
                f"a network with the {kind} {texts[kind][:80]} could be saved but not loaded: add its dataclass to "
                f"robustsnn.spiking.{kind.upper()}S{otherwise[kind]}"
            ) from None
    return {**vars(dynamics), **texts}


def _check_known(path: Path | str, dynamics: Any) -> None:
    """Raise ValueError if a checkpoint names a neuron or surrogate that is not registered."""
    for kind, known in _KINDS.items() if isinstance(dynamics, dict) else ():
        name = str(dynamics.get(kind)).partition("(")[0]
        if name.isidentifier() and name not in known:
            raise ValueError(
                f"{path} was saved with the {kind} {name}, which is not registered: add its dataclass to "
                f"robustsnn.spiking.{kind.upper()}S before you load it, or correct the name ({nearest(name, known)})"
            )


def _header(path: Path, texts: Mapping[str, str]) -> Header:
    if texts.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file but not a checkpoint of robustsnn ({FORMAT}): use plain weights with "
            "'robustsnn run --weights'"
        )
    try:
        values: dict[str, Any] = {name: json.loads(texts[name]) for name in ("recipe", "metrics", "spiking")}
        if {type(value) for value in values.values()} != {dict}:
            raise ValueError("its entries must be tables")
        return Header(json.loads(texts["kind"]), **values)
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"the header of {path} is damaged ({error}): restore the file from where it came") from None


def _check_shapes(model: Mapping[str, Any], tensors: Mapping[str, Tensor], head: str) -> nn.Module:
    """Return the recipe's body on the meta device, without memory. Raises ValueError if the tensors have other shapes."""
    with torch.device("meta"):
        body = models.create(**model)
    for name, tensor in body.state_dict().items():
        found = tensors[head + name]
        if found.shape != tensor.shape:
            raise ValueError(f"{name} is {list(found.shape)}, but its recipe makes {list(tensor.shape)}")
    return body
