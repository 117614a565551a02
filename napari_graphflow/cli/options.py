"""Options shared by several commands, with their help."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

#: A flag without a ``--no-...`` form.
Flag = Annotated[bool, Parameter(negative="")]

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON.")]

Overwrite = Annotated[bool, Parameter(negative="", help="Replace existing files.")]

Device = Annotated[
    str, Parameter(help="Device: auto, cpu, mps, cuda or a specific GPU such as cuda:1.")
]

Mirror = Annotated[
    bool | None,
    Parameter(
        help="Also segment each window mirrored, along the axes along which training images were "
        "mirrored, and average: often a little better, twice as slow for each axis. Default: as "
        "the model's card says."
    ),
]

Postprocess = Annotated[
    bool,
    Parameter(
        help="Keep only the largest part of the structures for which the validation cases of the "
        "training showed that it helps; models show names them."
    ),
]

DatasetFolder = Annotated[Path, Parameter(help="Folder of the dataset.")]

JobName = Annotated[
    str, Parameter(help="Folder of the job, or (part of) its name in the default jobs folder.")
]

Reader = Annotated[
    str, Parameter(help="Name of the reader; by default that of the user of this computer.")
]
