"""How this program was installed, for hints that name the command for an optional extra."""

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

PACKAGE = "napari-graphflow"


def install_hint(extra: str) -> str:
    """Return a sentence with the command that installs an extra, as this program was installed.

    Parameters
    ----------
    extra
        Name of the extra, such as ``train``.
    """
    return f"Run: pip install {_requirement(extra)}"


def _requirement(extra: str) -> str:
    origin = _origin()
    url = str(origin.get("url", ""))
    if not url:
        checkout = Path(__file__).resolve().parents[2]
        if (checkout / "pyproject.toml").is_file():
            return f'-e "{checkout}[{extra}]"'
        return f'"{PACKAGE}[{extra}]"'
    if "vcs_info" in origin:
        commit = origin["vcs_info"].get("requested_revision")
        at = f"@{commit}" if commit else ""
        return f'"{PACKAGE}[{extra}] @ {origin["vcs_info"]["vcs"]}+{url}{at}"'
    if origin.get("dir_info", {}).get("editable"):
        return f'-e "{url2pathname(urlparse(url).path)}[{extra}]"'
    return f'"{PACKAGE}[{extra}] @ {url}"'


def _origin() -> dict[str, Any]:
    """Return where the package was installed from (PEP 610); empty for a package index."""
    with suppress(PackageNotFoundError, ValueError):
        text = distribution(PACKAGE).read_text("direct_url.json")
        found = json.loads(text) if text else {}
        return found if isinstance(found, dict) else {}
    return {}
