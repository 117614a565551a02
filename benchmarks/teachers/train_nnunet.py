"""Train nnU-Net on the raw datasets of ``run.py --raw``, in the environment of nnU-Net.

    python benchmarks/teachers/train_nnunet.py --raw RAW --out RESULTS [--seeds 0]

The network is nnU-Net's own plan with fewer channels (it has 32 at full resolution), trained for
fewer steps and by Adam, so that a CPU finishes. With ``--width 0`` plan, batch and optimiser are
nnU-Net's own. ``RESULTS/seed_0`` and so on are its results folders.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

#: Steps that are timed, and epochs that the steps of some minutes are divided into.
TRIAL, EPOCHS = 6, 10
TIMES = ("start", "end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--configurations", nargs="*", default=["3d_fullres"])
    parser.add_argument("--width", type=int, default=8, help="channels at full resolution")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--steps", type=int, default=50, help="of each epoch")
    parser.add_argument("--minutes", type=float, help="as many steps as take so long, instead")
    parser.add_argument("--cores", type=int, help="train on so many; planning takes more than one")
    options = parser.parse_args()
    folders = {"raw": options.raw, "preprocessed": options.out / "preprocessed",
               "results": options.out / "all"}  # fmt: skip
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(folder.resolve())
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_compile": "0"}
    for seed in options.seeds:
        for configuration in options.configurations:
            target = options.out / (f"seed_{seed}" + "_2d" * (configuration == "2d"))
            if not target.exists():
                shutil.copytree(train(seed, configuration, folders, options), target)


def train(seed: int, configuration: str, folders: dict[str, Path], options: Any) -> Path:
    """Plan, preprocess and train on all cases of a seed; return the results folder."""
    name = f"Dataset{101 + seed}_seed{seed}"
    plans = folders["preprocessed"] / name / "nnUNetPlans.json"
    if not plans.exists():
        _command("plan_and_preprocess", "-d", str(101 + seed), "-c", "3d_fullres", "2d", "-np", "1")
        if options.width:
            make_small(plans, options.width)
    if options.cores:
        os.environ |= {"nnUNet_n_proc_DA": "0"}  # planning does not allow it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.cores :])
    epochs, steps = options.epochs, options.steps
    if options.minutes:
        trial = run(name, configuration, seed, 1, TRIAL, options.width)
        begun, ended = (trial.logger.get_value(f"epoch_{one}_timestamps", 0) for one in TIMES)
        epochs = EPOCHS
        steps = max(1, round(options.minutes * 60 / (ended - begun) * TRIAL / EPOCHS))
    trainer = run(name, configuration, seed, epochs, steps, options.width)
    (Path(trainer.output_folder_base) / "steps.json").write_text(str(epochs * steps))
    return Path(trainer.output_folder_base)


def make_small(plans: Path, width: int) -> None:
    """Reduce the channels and batches of a plan."""
    content = json.loads(plans.read_text())
    for one in content["configurations"].values():
        network = one["architecture"]["arch_kwargs"]
        widths = [min(width * 2**i, 16 * width) for i in range(network["n_stages"])]
        network["features_per_stage"] = widths
        one["batch_size"] = min(one["batch_size"], 2 if one["patch_size"][2:] else 12)
    plans.write_text(json.dumps(content, indent=1))


def run(name: str, configuration: str, seed: int, epochs: int, steps: int, width: int) -> Any:
    """Train on all cases; return the trainer."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.manual_seed(seed)
    trainer = get_trainer_from_args(name, configuration, "all", device=torch.device("cpu"))
    trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = steps, 2
    trainer.num_epochs = epochs
    if width:
        trainer.configure_optimizers = lambda: adam(trainer)
    trainer.run_training()
    return trainer


def adam(trainer: Any) -> tuple[Any, Any]:
    """Return Adam for nnU-Net's SGD, which is far from its end after so few steps."""
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
    from torch.optim import Adam

    optimiser = Adam(trainer.network.parameters(), lr=1e-3)
    return optimiser, PolyLRScheduler(optimiser, 1e-3, trainer.num_epochs)


def _command(name: str, *arguments: str) -> None:
    subprocess.run([Path(sys.executable).parent / f"nnUNetv2_{name}", *arguments], check=True)


if __name__ == "__main__":
    main()
