"""The documentation refers to existing tests and code."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent


@pytest.mark.parametrize(("page", "count"), [("docs/volumes.md", 50), ("SECURITY.md", 5)])
def test_tests_named_on_a_page_exist(page: str, count: int) -> None:
    text = (CHECKOUT / page).read_text("utf-8")
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    assert len(named) > count
    for file, test in named:
        assert f"def {test}(" in (CHECKOUT / "tests" / file).read_text("utf-8"), (file, test)


def test_code_examples_of_methods_are_in_the_package() -> None:
    text = (CHECKOUT / "CONTRIBUTING.md").read_text("utf-8")
    code = "".join(
        path.read_text("utf-8") for path in (CHECKOUT / "napari_graphflow").rglob("*.py")
    )
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        assert block in code, block


def test_each_row_of_the_table_of_volumes_names_a_test() -> None:
    text = (CHECKOUT / "docs" / "volumes.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    behaviours = [row for row in rows if row.count("|") == 4 and not row.startswith("| case ")]
    assert len(behaviours) > 40
    assert all(".py::" in row for row in behaviours)


def test_a_cluster_of_ray_that_a_page_starts_is_open_to_this_computer_alone() -> None:
    pages = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")]
    started = [
        line
        for page in pages
        for line in page.read_text("utf-8").splitlines()
        if "ray start" in line and "--head" in line
    ]
    assert started
    for line in started:
        assert "--node-ip-address=127.0.0.1" in line, line
        assert "--dashboard-host=127.0.0.1" in line, line


#: Every address outside that a text names, so that none is added unseen.
ADDRESSES = {
    "https://napari.org",
    "https://pytorch.org/get-started/locally/",
    "https://semver.org",
}


def test_links_to_the_outside_are_known_addresses_and_identifiers_are_well_formed() -> None:
    pages = [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md"), CHECKOUT / "CITATION.cff"]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    assert set(re.findall(r"https?://[^\s)>\"'`]+", text)) == ADDRESSES
    papers = re.findall(r"arXiv ([\d.]+\d)", text)
    assert len(papers) >= 3
    assert all(re.fullmatch(r"\d{4}\.\d{5}", one) for one in papers), papers
    assert all(one.startswith("10.") for one in re.findall(r"doi: (\S+)", text))
