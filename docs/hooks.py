"""Hooks of mkdocs: the pages of commands and tutorials are generated, links are resolved."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from napari_graphflow.cli import app
from napari_graphflow.plugin.tutorial.steps import TUTORIALS

CHECKOUT = Path(__file__).parent.parent
OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+((?:benchmarks|napari_graphflow|tests)[^)]*)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference of the command line, as the commands describe themselves."""
    text = app.generate_docs(output_format="markdown")
    title = "# Commands\n\nWritten by the commands themselves; each has `--help`.\n"
    body = text[text.index("\n## ", text.index("## Table of Contents") + 1) :]
    files.append(File.generated(config, "commands.md", content=title + body))
    files.append(File.generated(config, "tutorial.md", content=tutorials()))
    return files


def tutorials() -> str:
    """Return the page of the tutorials: what the dock Tutorial says, with a picture of each step.

    `benchmarks/tutorial_pictures.py` makes the pictures.
    """
    about = (
        "The same steps are in napari under *Plugins > Graph Flow > Tutorial*, where *Show me* "
        "highlights the button of each. The samples ship with the program; nothing is loaded from "
        "a network. The first tutorial takes ten minutes, and as long again for the two trainings. "
        "The results of nnU-Net that are copied with the phantoms were trained by this project on "
        "forty further phantoms, and lie in the layout in which nnU-Net leaves them: mean Dice "
        "0.82 on the test cases (liver 0.92, spleen 0.86, left kidney 0.94, lesion 0.57), by "
        "`napari-graphflow models import nnunet_results --out teacher` and "
        "`napari-graphflow evaluate --dataset abdomen --model teacher` in the folder of the copies."
    )
    lines = ["# Tutorials\n", about]
    for name, tutorial in TUTORIALS.items():
        lines.append(f"\n## {tutorial.title}\n")
        for place, step in enumerate(tutorial.steps, start=1):
            where = f" *(dock {step.dock})*" if step.dock else ""
            lines.append(f"\n### {place}. {step.title}\n\n{step.text}{where}\n")
            picture = f"pictures/tutorial_{name}_{place}.png"
            if (CHECKOUT / "docs" / picture).exists():
                lines.append(f"![napari at the step “{step.title}”]({picture})\n")
    return "\n".join(lines)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show a link to a file of the repository, which is not part of the site, as its path."""

    def path(match: re.Match[str]) -> str:
        if not (CHECKOUT / match[2]).exists():
            raise FileNotFoundError(f"{page.file.src_path} links to {match[2]}")
        return f"{match[1]} (`{match[2]}`)" if f"`{match[2]}`" != match[1] else match[1]

    return OUTSIDE.sub(path, markdown)
