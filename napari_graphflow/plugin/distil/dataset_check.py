"""State and messages of a chosen dataset and its data check, without Qt."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from pydantic import ConfigDict, TypeAdapter

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.compatibility import axes_of
from napari_graphflow.dataset.findings import Finding
from napari_graphflow.system.failures import EXIT_CODES, Failure

SIGNS = {"error": "✕", "warning": "⚠", "info": "·"}
MOST_SHOWN = 30
_FINDINGS = TypeAdapter(tuple[Finding, ...], config=ConfigDict(defer_build=True))


@dataclass(frozen=True)
class CheckedDataset:
    """A dataset and the findings of its check.

    Attributes
    ----------
    dataset
        The dataset.
    findings
        None until the check has ended.
    """

    dataset: Dataset
    findings: tuple[Finding, ...] | None = None

    def checked(self, output: str) -> Self:
        """Return a copy with the findings of the check, parsed from its JSON output."""
        try:
            reply = json.loads(output)
        except ValueError:
            reply = {"failure": {"code": "ended", "text": "The data check could not be run."}}
        if "failure" in reply:
            failure = Failure.model_validate(reply["failure"])
            known = failure.exit_code == EXIT_CODES["user"]
            finding = Finding("error" if known else "warning", "", failure.text, failure.remedy)
            return replace(self, findings=(finding,))
        return replace(self, findings=_FINDINGS.validate_python(reply["findings"]))

    def findings_of(self, *severities: str) -> list[Finding]:
        """Return the findings of the given severities, in their order."""
        findings = self.findings or ()
        return [one for level in severities for one in findings if one.severity == level]

    @property
    def dims(self) -> int:
        """2 for 2D images and 3 for volumes."""
        return axes_of(self.dataset)

    @property
    def sites(self) -> dict[str, int]:
        """Number of cases of each known site."""
        return dict(Counter(case.site for case in self.dataset.cases if case.site))

    def cases_of(self, sources: Sequence[str]) -> tuple[int, int]:
        """Numbers of labelled and unlabelled training cases of some sites."""
        labelled, unlabelled = self.dataset.labelled("train"), self.dataset.unlabelled("train")
        return (
            sum(case.site in sources for case in labelled),
            sum(case.site in sources for case in unlabelled),
        )

    @property
    def ready(self) -> bool:
        """Whether training can start: there are labelled cases and no known errors."""
        return bool(self.dataset.labelled("train")) and not self.findings_of("error")

    @property
    def obstacle(self) -> str:
        """Why the dataset cannot be used, as a sentence; empty if it can be used."""
        errors = self.findings_of("error")
        if errors:
            return sentence(errors[0])
        if not self.dataset.labelled("train"):
            return (
                f"{self.dataset.name} has no labelled training case. "
                "Segment at least one, correct it and save its mask in labelsTr."
            )
        return ""

    @property
    def counts(self) -> str:
        """Numbers of cases and the state of the data check."""
        labelled = len(self.dataset.labelled("train"))
        unlabelled = len(self.dataset.unlabelled("train"))
        return f"{labelled} labelled · {unlabelled} unlabelled · {self._state()}"

    @property
    def tip(self) -> str:
        """Tooltip: name, classes and folder, one line each."""
        return (
            f"Training cases of {self.dataset.name}\n"
            f"Classes: {', '.join(self.dataset.classes)}\n{self.dataset.folder}"
        )

    @property
    def report(self) -> tuple[str, str]:
        """Title and text of the findings; the text is empty if there are none."""
        shown = self.findings_of("error", "warning", "info")
        lines = [f"{SIGNS[one.severity]} {sentence(one)}" for one in shown[:MOST_SHOWN]]
        if len(shown) > MOST_SHOWN:
            lines.append(f"… and {len(shown) - MOST_SHOWN} more")
        return f"Data check ({len(shown)})", "\n".join(lines)

    def _state(self) -> str:
        if self.findings is None:
            return "checking …"
        errors, warnings = self.findings_of("error"), self.findings_of("warning")
        if errors:
            return _counted(errors, "error")
        return _counted(warnings, "warning") if warnings else "OK ✓"


def sentence(finding: Finding) -> str:
    """Describe a finding: case, text, remedy."""
    case = f"{finding.case}: " if finding.case else ""
    return f"{case}{finding.text} {finding.remedy}".strip()


def _counted(findings: Sequence[Finding], word: str) -> str:
    return f"{len(findings)} {word}{'s' * (len(findings) > 1)}"
