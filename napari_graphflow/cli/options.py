"""Options that several commands have, with their help."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

#: An option that is given or not; there is no ``--no-...``.
Flag = Annotated[bool, Parameter(negative="")]

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON.")]

Overwrite = Annotated[bool, Parameter(negative="", help="Replace files that are there already.")]

Device = Annotated[str, Parameter(help="auto, cpu, cuda or mps.")]

DatasetFolder = Annotated[Path, Parameter(help="Folder of the dataset.")]

JobName = Annotated[
    str, Parameter(help="Folder of the job, or its name in the user's folder of jobs.")
]
