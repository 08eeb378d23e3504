"""What all tests share: shapes checked at run time, one thread, a small body, images, and what it means to be unchanged."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

SOURCE = Path(__file__).parents[1] / "src/robustsnn"
UNCHECKED = (
    *("models", "compute/machine_code.py"),
    *(f"spiking/{name}" for name in ("compiled.py", "dynamics.py", "neurons", "surrogate.py")),
)
"""What torch.fx traces with proxies, which are no tensors, and what torch.compile reads."""
install_import_hook(
    [
        f"robustsnn.{'.'.join(path.with_suffix('').parts)}"
        for path in (file.relative_to(SOURCE) for file in SOURCE.rglob("*.py"))
        if path.stem != "__init__" and not str(path).startswith(UNCHECKED)
    ],
    "typechecks.checked",
)
settings.register_profile("house", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("house")
torch.set_num_threads(1)

from robustsnn import cli  # noqa: E402
from robustsnn.compute import machine_code  # noqa: E402
from robustsnn.conversion import spiking  # noqa: E402
from robustsnn.models import create  # noqa: E402
from robustsnn.reporting import writing  # noqa: E402
from robustsnn.seeds import generator  # noqa: E402
from robustsnn.spiking import Dynamics  # noqa: E402


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """Modules that a test builds by torch's constructors are the same whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _nothing_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes many seconds on a machine that has never done it; tests/spiking/test_compiled.py has it done."""
    monkeypatch.setattr(machine_code, "SMALLEST", 2**62)


@pytest.fixture(autouse=True)
def _pages_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes seconds, and has tests of its own; fixtures of a whole module do draw."""
    monkeypatch.setattr(writing, "page", lambda report: "<p>drawn in tests/reporting")


@pytest.fixture
def unchecked():
    """Arguments reach the library as at a user's, and as fast: no run-time type checks in between."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    """A folder with ``small.toml`` and its run in ``runs/small``, but for the pages."""
    folder = tmp_path_factory.mktemp("ran")
    recipe = shutil.copy(Path(__file__).parent / "small.toml", folder)
    assert cli.main(["run", recipe, "--until", "evaluate", "--out", str(folder / "runs/small")]) == 0
    return folder


@pytest.fixture
def said(capsys):
    """``said(*args)``: exit code, and what was printed on both channels."""

    def call(*args):
        try:
            code = cli.main([str(arg) for arg in args])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(said):
    """``refused(*args)``: the one line that a mistake costs."""

    def call(*args):
        code, _, error = said(*args)
        (line,) = error.splitlines()
        assert code == 2
        assert line.startswith("robustsnn: error: ")
        return line

    return call


@pytest.fixture
def unread(monkeypatch):
    """``with unread("stdout", "stderr"): ...`` makes them pipes without a reader, as behind ``2>&1 | head``."""

    @contextmanager
    def gone(*streams: str) -> Iterator[None]:
        reader, writer = os.pipe()
        os.close(reader)
        with ExitStack() as stack, monkeypatch.context() as patch:
            for stream in streams:
                patch.setattr(f"sys.{stream}", stack.enter_context(os.fdopen(os.dup(writer), "w")))
            os.close(writer)
            yield

    return gone


@pytest.fixture
def images():
    """Six random images ``[6, 2, 8, 8]``."""
    return torch.rand(6, 2, 8, 8, generator=generator(0, "test images"))


@pytest.fixture
def labels():
    """Their labels, 4 classes."""
    return torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.fixture
def ann():
    """An untrained body whose batch norms have seen images, in eval mode."""
    options = {"plan": [4, "A", 6], "hidden": [10], "conv_bias": True}
    body = create("vgg", classes=4, size=8, channels=2, mean=(0.4, 0.6), std=(0.3, 0.2), seed=1, **options)
    seen = torch.rand(3, 16, 2, 8, 8, generator=generator(1, "test images"))
    for batch in seen:
        body.train()(batch)
    return body.eval()


@pytest.fixture
def net(ann, images):
    """The same body with neurons that do fire, four time steps, in eval mode."""
    return spiking(ann, images, Dynamics(4), threshold=0.5).eval()


def picture(module: torch.nn.Module) -> dict[str, object]:
    """Everything one could change about a module tree: identities, flags, attributes, hooks, tensors bit by bit, gradients."""

    def tensor(value):
        return None if value is None else (id(value), value.detach().numpy().tobytes(), value.grad is None)

    return {
        name: (
            id(part),
            part.training,
            set(vars(part)),
            {key: list(value) for key, value in vars(part).items() if key.endswith("hooks")},
            {key: tensor(value) for key, value in [*part._parameters.items(), *part._buffers.items()]},
        )
        for name, part in module.named_modules(remove_duplicate=False)
    }


@pytest.fixture
def unchanged():
    """``with unchanged(module): ...`` fails where the block changes the module in any way, or the global generator."""

    @contextmanager
    def check(*modules: torch.nn.Module) -> Iterator[None]:
        before, state = [picture(module) for module in modules], torch.get_rng_state()
        yield
        assert [picture(module) for module in modules] == before
        assert torch.equal(torch.get_rng_state(), state), "the global generator was used"

    return check
