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

DatasetFolder = Annotated[Path, Parameter(help="Folder of the dataset.")]

JobName = Annotated[
    str, Parameter(help="Folder of the job, or (part of) its name in the default jobs folder.")
]

Reader = Annotated[
    str, Parameter(help="Name of the reader; by default that of the user of this computer.")
]
