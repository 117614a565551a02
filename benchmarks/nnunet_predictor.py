"""A student's whole way to the mask, beside the predictor of nnU-Net with its default network.

    python benchmarks/nnunet_predictor.py --nnunet PYTHON

``--nnunet`` is the Python of an environment with nnunetv2. The image is the MR of inference.py. The
network is nnU-Net's PlainConvUNet as planned for such an image (patch 80 x 160 x 160, six stages of
32 to 320 features) with random weights, and only its windows are timed, without reading,
resampling and argmax. Mirroring, nnU-Net's default, is off: with it there are eight times as many
windows. Both ways take turns; seconds are the minimum over rounds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from inference import MACHINE, ROWS, write_model

RESULT = Path(__file__).with_suffix(".json")
ROW = "3D ENet, MR"
PREDICTOR = """
import json, sys, time
from types import SimpleNamespace
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

torch.manual_seed(0)
features = [32, 64, 128, 256, 320, 320]
strides = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]
network = PlainConvUNet(
    1, 6, features, torch.nn.Conv3d, 3, strides, 2, 3, 2, conv_bias=True,
    norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
    nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True},
)
predictor = nnUNetPredictor(
    use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"),
    allow_tqdm=False,
)
labels = SimpleNamespace(num_segmentation_heads=3)
predictor.manual_initialization(
    network, SimpleNamespace(get_label_manager=lambda _: labels),
    SimpleNamespace(patch_size=[80, 160, 160]), None, {}, "", None,
)
image = torch.rand(1, *json.loads(sys.argv[1]))
predictor.predict_sliding_window_return_logits(image[:, :80, :160, :160])
started = time.perf_counter()
predictor.predict_sliding_window_return_logits(image)
seconds = time.perf_counter() - started
parameters = sum(one.numel() for one in network.parameters())
print(json.dumps({"seconds": seconds, "parameters": parameters}))
"""


def last_line(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nnunet", required=True, metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    row = ROWS[ROW]
    script = str(Path(__file__).with_name("inference.py"))
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "student"
        write_model(row, folder)
        ours, theirs = [], []
        for _ in range(options.rounds):
            one = [sys.executable, script, "--one", ROW, "product", str(folder)]
            ours.append(last_line(one))
            other = [options.nnunet, "-c", PREDICTOR, json.dumps(row.shape)]
            theirs.append(last_line(other))
    student, predictor = (min(one["seconds"] for one in all_) for all_ in (ours, theirs))
    found = {
        "machine": MACHINE,
        "image": ROW,
        "student_s": round(student, 2),
        "nnunet_s": round(predictor, 1),
        "nnunet_parameters": theirs[0]["parameters"],
        "times": round(predictor / student),
    }
    print(json.dumps(found, indent=1))
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
