"""The folders of this user's jobs and models."""

import os
from pathlib import Path

import platformdirs


def data_root() -> Path:
    """The folder of this user's jobs and models.

    ``$GRAPHFLOW_HOME``, or where the system keeps the data of programs.
    """
    home = os.environ.get("GRAPHFLOW_HOME")
    return Path(home) if home else platformdirs.user_data_path("napari-graphflow", appauthor=False)


def jobs_root() -> Path:
    """The folder of this user's jobs."""
    return data_root() / "jobs"


def models_root() -> Path:
    """The folder of this user's models."""
    return data_root() / "models"
