"""Run the notebooks and keep their outputs: ``python -m benchmarks.notebooks`` (or ``make notebooks``).

A cell that fails leaves its notebook as it was. The outputs depend on the machine only by rounding.
"""

import argparse
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("docs/notebooks/*.ipynb"))


def renew(file: Path) -> None:
    """Run a notebook in an empty folder, and write it back with its new outputs and without times or versions."""
    notebook = nbformat.read(file, as_version=4)
    metadata = notebook.metadata.copy()
    with tempfile.TemporaryDirectory() as folder:
        how = Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"})  # files instead of network ports
        here = {"metadata": {"path": folder}}
        NotebookClient(notebook, config=how, resources=here, record_timing=False, coalesce_streams=True).execute()
    notebook.metadata = metadata  # the kernel adds the version of Python
    nbformat.write(notebook, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, default=NOTEBOOKS, help="all if none are given")
    for file in parser.parse_args().notebooks:
        started = time.perf_counter()
        renew(file)
        print(f"{file.name}: {time.perf_counter() - started:.0f} s, {file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
