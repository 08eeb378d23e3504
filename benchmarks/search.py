"""Chooses between recipes: what a few strong attacks leave of validation images, which are no test images.

python -m benchmarks.search runs/one/snn.safetensors runs/other/snn.safetensors --eps 2/255 8/255
python -m benchmarks.search runs/nmnist/snn.safetensors --protocol events --eps 0.02
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from robustsnn import evaluate, load
from robustsnn.cli.terminal import tell
from robustsnn.evaluation import Audit
from robustsnn.names import number
from robustsnn.recipes import load_recipe
from robustsnn.recipes.working import Run

PROTOCOL = str(Path(__file__).with_suffix(".toml"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, help="each in the folder of its run")
    parser.add_argument("--eps", nargs="+", default=["2/255", "8/255"])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--protocol", default=PROTOCOL, help="a name or a TOML file")
    parser.add_argument("--timesteps", type=int, help="for how many steps; else as it was made")
    args = parser.parse_args()
    for path in args.checkpoints:
        net = load(path)
        if args.timesteps:
            net = net.replace(timesteps=args.timesteps)
        run = Run(load_recipe(str(path.parent / "recipe.toml")), path.parent)
        images = run.parts()[1].first(args.images)
        radii, threat = [number(eps) for eps in args.eps], run.recipe.evaluation.threat
        report = evaluate(net, images, args.protocol, radii, threat=threat, check=Audit(0))
        robust = ", ".join(f"{eps}: {result.robust.value:.1%}" for eps, result in zip(args.eps, report.results, strict=True))
        tell(f"{path}: clean {report.clean.value:.1%}; {robust} ({len(images)} validation images)", sys.stdout)


if __name__ == "__main__":
    main()
