"""Hooks of mkdocs: the page of commands is generated, links into the repository are resolved."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from napari_graphflow.cli import app

CHECKOUT = Path(__file__).parent.parent
OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+((?:benchmarks|napari_graphflow|tests)[^)]*)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference of the command line, as the commands describe themselves."""
    text = app.generate_docs(output_format="markdown")
    title = "# Commands\n\nWritten by the commands themselves; each has `--help`.\n"
    body = text[text.index("\n## ", text.index("## Table of Contents") + 1) :]
    files.append(File.generated(config, "commands.md", content=title + body))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show a link to a file of the repository, which is not part of the site, as its path."""

    def path(match: re.Match[str]) -> str:
        if not (CHECKOUT / match[2]).exists():
            raise FileNotFoundError(f"{page.file.src_path} links to {match[2]}")
        return f"{match[1]} (`{match[2]}`)" if f"`{match[2]}`" != match[1] else match[1]

    return OUTSIDE.sub(path, markdown)
