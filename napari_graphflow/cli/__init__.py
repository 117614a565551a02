"""The command line: all functions of the plugin, without a display.

Exit codes: 0 done, 1 and 3 to 7 the run failed, 2 invalid input, 130 interrupted.
"""

import os
import sys
from contextlib import nullcontext
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from napari_graphflow import __version__
from napari_graphflow.cli.datasets import datasets
from napari_graphflow.cli.demo import demo
from napari_graphflow.cli.jobs import jobs
from napari_graphflow.cli.models import models, networks
from napari_graphflow.cli.segment import evaluate, segment
from napari_graphflow.cli.terminal import console, fail, failure_as_json, output
from napari_graphflow.cli.train import distill, train
from napari_graphflow.cli.volumes import volumes
from napari_graphflow.config.settings import first_problem
from napari_graphflow.errors import UserError

app = App(
    name="napari-graphflow",
    help="Segment volumes with a teacher or student network, and distil a teacher into a student.",
    version=__version__,
    default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
)


for command in (
    volumes, datasets, networks, models, train, distill, segment, evaluate, jobs, demo,
):  # fmt: skip
    app.command(command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    # Must be set before torch is imported; otherwise idle threads occupy the CPU.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with failure_as_json() if "--json" in arguments else nullcontext():
            result = app(
                arguments,
                console=output,
                print_error=False,
                exit_on_error=False,
                result_action="return_value",
            )
    except UserError as error:
        fail(str(error))
    except CycloptsError as error:
        fail(_usage_error(error))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in {
            "torch", "monai", "lightning_fabric", "safetensors",
        }:  # fmt: skip
            raise
        fail(f"{error.name} is not installed. Run: pip install 'napari-graphflow[train]'")
    except KeyboardInterrupt:
        console.print("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(result if isinstance(result, int) else 0)


def _usage_error(error: CycloptsError) -> str:
    """Describe invalid arguments in one sentence."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return str(error)
    where = ".".join(str(part) for part in cause.errors()[0]["loc"])
    text = first_problem(cause).removeprefix(f"{where}: ")
    option = f"--{where.replace('_', '-')}: " if where else ""
    return f"{option}{text}."


@app.command(show=False)
def worker() -> int:
    """Serve segmentations on standard input and output; used by the plugin."""
    from napari_graphflow.inference import server

    return server.main()
