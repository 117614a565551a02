"""The command line: all functions of the plugin, without a display.

Exit codes: 0 done, 1 and 3 to 7 the run failed, 2 invalid input, 130 interrupted.
"""

import os
import sys
from contextlib import nullcontext
from typing import NoReturn

from cyclopts import App, Parameter

import napari_graphflow.cli.ensembles
import napari_graphflow.cli.masks  # adds commands to `datasets`
import napari_graphflow.cli.model_facts  # noqa: F401, adds commands to `models`
from napari_graphflow import __version__
from napari_graphflow.cli.compare import compare
from napari_graphflow.cli.config_file import config_of
from napari_graphflow.cli.datasets import datasets
from napari_graphflow.cli.demo import demo
from napari_graphflow.cli.export import export
from napari_graphflow.cli.jobs import jobs
from napari_graphflow.cli.labelling import propose
from napari_graphflow.cli.models import models, networks
from napari_graphflow.cli.plan import plan
from napari_graphflow.cli.rounds import rounds
from napari_graphflow.cli.segment import evaluate, segment
from napari_graphflow.cli.terminal import (
    console,
    discard_output,
    explain_command,
    fail,
    failure_as_json,
    open_closed_streams,
    output,
)
from napari_graphflow.cli.train import distill, train
from napari_graphflow.cli.volumes import volumes

app = App(
    name="napari-graphflow",
    help="Segment volumes with a teacher or student network, and distil a teacher into a student.",
    version=__version__,
    default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
)


for command in (
    volumes, datasets, propose, rounds, networks, models, plan, train, distill, segment, evaluate,
    compare, export, jobs, demo,
):  # fmt: skip
    app.command(command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    # Must be set before torch is imported; otherwise idle threads occupy the CPU.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    open_closed_streams()
    try:
        with failure_as_json() if "--json" in arguments else nullcontext():
            app.config = config_of(arguments)
            result = app(
                arguments,
                console=output,
                print_error=False,
                exit_on_error=False,
                result_action="return_value",
            )
        sys.stdout.flush()
    except KeyboardInterrupt:
        console.print("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        discard_output()
        sys.exit(0)
    except Exception as error:
        discard_output()
        failure = explain_command(error)
        if failure.code == "unexpected" and not isinstance(error, OSError):
            raise  # the traceback is needed; Python exits with the same code
        fail(failure)
    sys.exit(result if isinstance(result, int) else 0)


@app.command(show=False)
def worker() -> int:
    """Serve segmentations on standard input and output; used by the plugin."""
    from napari_graphflow.inference import server

    return server.main()
