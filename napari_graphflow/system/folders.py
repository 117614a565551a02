"""Default folders for jobs and models of this user."""

import os
from pathlib import Path

import platformdirs


def data_root() -> Path:
    """Return the default folder for jobs and models.

    ``$GRAPHFLOW_HOME``, or the user data folder of the operating system.
    """
    home = os.environ.get("GRAPHFLOW_HOME")
    return Path(home) if home else platformdirs.user_data_path("napari-graphflow", appauthor=False)


def jobs_root() -> Path:
    """Return the default folder for jobs."""
    return data_root() / "jobs"


def models_root() -> Path:
    """Return the default folder for models."""
    return data_root() / "models"
