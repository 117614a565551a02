"""``plan``: what a training will do, to read and edit before it starts."""

from pathlib import Path
from typing import Annotated

import yaml
from cyclopts import Parameter

from napari_graphflow.cli.config_file import ConfigFile
from napari_graphflow.cli.options import Overwrite
from napari_graphflow.cli.terminal import console, output
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.imaging.paths import refuse_overwriting
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.system.destinations import require_writable, saying_what_stands
from napari_graphflow.system.files import replace_file


def plan(
    config: Annotated[TrainingConfig, Parameter(name="*")],
    *,
    out: Path | None = None,
    overwrite: Overwrite = False,
    config_file: ConfigFile = None,
) -> None:
    """Choose spacing, intensity and patch size from the data as ``train`` would, and say why.

    The settings are YAML for ``train --config``; edit them before.

    Parameters
    ----------
    config
        Settings of the training.
    out
        File for the settings, such as run.yaml. Default: they are printed.
    """
    from napari_graphflow.training.planning import plan as plan_run

    if out is not None:
        require_writable([out])
        refuse_overwriting([out], overwrite=overwrite)
    check_run(config)
    planned, reasons = plan_run(config)
    for reason in reasons:
        console.print(reason, soft_wrap=True)
    asked = planned.model_dump(mode="json", exclude_defaults=True)
    always = {"network", "dims", "batch_size", "steps"}
    settings = planned.model_dump(mode="json", include=set(asked) | always)
    settings["preprocessing"] = planned.model_dump(mode="json")["preprocessing"]
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    if out is None:
        output.print(text, soft_wrap=True, end="")
        return
    with saying_what_stands(out, "Nothing was written."):
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, text.encode())
    output.print(f"Edit {out}, then run: napari-graphflow train --config {out}", soft_wrap=True)
