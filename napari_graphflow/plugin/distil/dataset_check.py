"""What a dataset and the check of its files allow, and the sentences about it, without a window."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.imaging.formats.endings import FLAT
from napari_graphflow.system.failures import EXIT_CODES, Failure

SIGNS = {"error": "✕", "warning": "⚠", "info": "·"}


MOST_SHOWN = 30


Finding = dict[str, Any]


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
        """The same after its check, from what the check has printed."""
        try:
            reply = json.loads(output)
        except ValueError:
            reply = {"failure": {"code": "ended", "text": "The data check could not be run."}}
        if "failure" in reply:
            why = Failure.model_validate(reply["failure"])
            severity = "error" if why.exit_code == EXIT_CODES["user"] else "warning"
            words = why.model_dump(include={"text", "remedy"})
            return replace(self, findings=({"severity": severity, "case": "", **words},))
        return replace(self, findings=tuple(reply["findings"]))

    def findings_of(self, *severities: str) -> list[Finding]:
        """The findings of these severities, in their order."""
        findings = self.findings or ()
        return [one for level in severities for one in findings if one["severity"] == level]

    @property
    def dims(self) -> int:
        """2 for 2D images and 3 for volumes."""
        return 2 if self.dataset.file_ending.lower() in FLAT else 3

    @property
    def ready(self) -> bool:
        """Whether a training may start: there are labelled cases and no known error."""
        return bool(self.dataset.labelled("train")) and not self.findings_of("error")

    @property
    def obstacle(self) -> str:
        """Why the dataset cannot be used, in a sentence; empty where it can be."""
        errors = self.findings_of("error")
        if errors:
            return sentence(errors[0])
        if not self.dataset.labelled("train"):
            return (
                f"{self.dataset.name} has no labelled training case. "
                "Segment and correct at least one, and save its mask in labelsTr."
            )
        return ""

    @property
    def counts(self) -> str:
        """How many cases there are, and how the check has gone so far."""
        labelled = len(self.dataset.labelled("train"))
        unlabelled = len(self.dataset.unlabelled("train"))
        return f"{labelled} labelled · {unlabelled} unlabelled · {self._state()}"

    @property
    def tip(self) -> str:
        """Name, classes and folder, a line each."""
        return (
            f"Training cases of {self.dataset.name}\n"
            f"Classes: {', '.join(self.dataset.classes)}\n{self.dataset.folder}"
        )

    @property
    def report(self) -> tuple[str, str]:
        """Title and text of the folded findings; no text where there are none."""
        shown = self.findings_of("error", "warning", "info")
        lines = [f"{SIGNS[one['severity']]} {sentence(one)}" for one in shown[:MOST_SHOWN]]
        if len(shown) > MOST_SHOWN:
            lines.append(f"… and {len(shown) - MOST_SHOWN} more")
        return f"Data check ({len(shown)})", "\n".join(lines)

    def _state(self) -> str:
        if self.findings is None:
            return "checking …"
        errors, warnings = self.findings_of("error"), self.findings_of("warning")
        if errors:
            return _counted(errors, "error")
        return _counted(warnings, "remark") if warnings else "ok ✓"


def sentence(finding: Finding) -> str:
    """A finding in a sentence, with its case before it and its remedy after it."""
    case = f"{finding['case']}: " if finding.get("case") else ""
    return f"{case}{finding['text']} {finding.get('remedy', '')}".strip()


def _counted(findings: Sequence[Finding], word: str) -> str:
    return f"{len(findings)} {word}{'s' * (len(findings) > 1)}"
