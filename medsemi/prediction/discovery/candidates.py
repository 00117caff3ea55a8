"""Which cases are predicted: those that the model fits, that the user wants, and that are safe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medsemi.prediction.case import Case, Outcome
from medsemi.prediction.codes import Finding, RunStopped
from medsemi.prediction.discovery.draft import Draft
from medsemi.prediction.discovery.identity import names_in_any_run
from medsemi.prediction.model import Model
from medsemi.prediction.options import Options

MOST_VOLUMES = 4
# Said of any case: damaged pixels, files that are not there, and copies left out.
_ALWAYS = {"R07", "U01", "U02", "W02"}


@dataclass(frozen=True)
class Selection:
    """What the user wants, and what the model takes.

    Attributes:
        options: of the user.
        model: None if there is none to fit: then all modalities do.
    """

    options: Options
    model: Model | None

    @property
    def most_volumes(self) -> int:
        """More volumes in one series are not predicted unasked."""
        return self.model.max_volumes if self.model else MOST_VOLUMES

    def gather(self, drafts: Sequence[Draft], ids: Sequence[str]) -> list[tuple[Draft, str]]:
        """Join the volumes of a series that are too many, as far as none is named.

        Args:
            drafts: all cases.
            ids: their names.

        Raises:
            RunStopped: E13 if the user names a series that is not there.
        """
        if self.options.series not in {"auto", "all"}:
            named = any(self.names(draft, name) for draft, name in zip(drafts, ids, strict=True))
            if drafts and not named:
                raise RunStopped("E13", why="--series names none of the series; see inspect")
        kept: list[tuple[str, list[Draft]]] = []
        many: dict[str, list[Draft]] = {}
        for draft, name in zip(drafts, ids, strict=True):
            few = draft.volumes <= self.most_volumes or self.options.series == "all"
            if few or self._names_volume(draft, name):
                kept.append((name, [draft]))
                continue
            if draft.group not in many:
                many[draft.group] = []
                kept.append((_without_volume(name), many[draft.group]))
            many[draft.group].append(draft)
        joined = {id(members) for members in many.values()}
        return [
            (_joined(members) if id(members) in joined else members[0], name)
            for name, members in kept
        ]

    def names(self, draft: Draft, case_id: str) -> bool:
        """Whether `--series` names a case: by UID, UID#volume, case id or part of a description."""
        wanted = self.options.series
        if wanted in {"auto", "all"} or self._names_volume(draft, case_id):
            return True
        uid = str(draft.source.tags.get("series_uid", ""))
        if wanted in {uid, *self._called(draft, case_id)} and wanted:
            return True
        described = (
            draft.source.tags.get("series_description", "")
            if draft.source.kind == "dicom"
            else draft.source.name
        )
        return not re.fullmatch(r"[\d.]+#\d+", wanted) and wanted.lower() in str(described).lower()

    def _names_volume(self, draft: Draft, case_id: str) -> bool:
        series, mark, number = self.options.series.rpartition("#")
        if draft.source.volume is None:
            return False
        called = self._called(draft, case_id)
        if not mark:
            return self.options.series in called
        uid = draft.source.tags.get("series_uid", "")
        known = {uid, draft.source.name, *map(_without_volume, called)} - {""}
        return series in known and number == str(draft.source.volume + 1)

    def _called(self, draft: Draft, case_id: str) -> set[str]:
        """Names of a case: its own, and those that a run over other inputs may have told."""
        return {case_id, *names_in_any_run(draft, self.options.names)}

    def not_wanted(self, draft: Draft, case_id: str, only_whole_files: bool) -> Finding | None:
        """S08, S09 or S10 if a case that could be predicted is not a candidate."""
        if not self.names(draft, case_id):
            return Finding("S10")
        if draft.category == "unreadable":
            return None
        if self.model and not self._fits(draft, only_whole_files):
            modality = draft.source.modality or "unknown"
            return Finding(
                "S08", {"modality": modality, "expected": ", ".join(self.model.modality)}
            )
        if self.options.series == "auto" and draft.projection:
            return Finding("S10")
        if draft.volumes > self.most_volumes and draft.source.volume is None:
            return Finding("S09", {"v": draft.volumes})
        return None

    def _fits(self, draft: Draft, only_whole_files: bool) -> bool:
        assert self.model is not None
        if draft.source.modality or self.model.accepts(""):
            return self.model.accepts(draft.source.modality)
        chosen = draft.direct or only_whole_files or self.options.series != "auto"
        return draft.source.kind != "dicom" and chosen


def decide(draft: Draft, case_id: str, selection: Selection, only_whole_files: bool) -> Case:
    """Make a case of a draft: what would be done with it, and what is said about that.

    Args:
        draft: what its files say.
        case_id: its name.
        selection: what the user wants and the model takes.
        only_whole_files: whether its INPUT holds no DICOM, so that the user chose these files.
    """
    findings = draft.findings
    if not _of(findings, "S"):
        unwanted = selection.not_wanted(draft, case_id, only_whole_files)
        findings = (unwanted, *findings) if unwanted else findings
    if selection.options.strict and not _of(findings, "SUR"):
        refused = [Finding("R12", {"warning": finding.code}) for finding in _of(findings, "W")]
        outcome: Outcome = "refuse" if refused else "predict"
        findings = (*refused, *findings)
    else:
        outcome, findings = _outcome(findings)
    return Case(
        key=draft.key,
        case_id=case_id,
        category=draft.category,
        flags=draft.flags,
        outcome=outcome,
        findings=findings,
        source=draft.source,
        grid=draft.grid,
        slice_index=draft.slice_index,
        geometry=draft.geometry,
    )


def _outcome(findings: tuple[Finding, ...]) -> tuple[Outcome, tuple[Finding, ...]]:
    """The outcome, and the findings that matter for it."""
    skipped, refused = _of(findings, "S"), _of(findings, "UR")
    if not skipped and not refused:
        return "predict", findings
    decisive = skipped or refused
    others = [
        finding for finding in findings if finding.code in _ALWAYS and finding not in decisive
    ]
    return "skip" if skipped else "refuse", (*decisive, *others)


def _of(findings: Sequence[Finding], letters: str) -> list[Finding]:
    return [finding for finding in findings if finding.code[0] in letters]


def _without_volume(case_id: str) -> str:
    return re.sub(r"_v\d+$", "", case_id)


def _joined(drafts: Sequence[Draft]) -> Draft:
    """One case of many volumes, which is not predicted."""
    first = drafts[0]
    slices = tuple(place for draft in drafts for place in draft.source.slices)
    files = max(len({place.path for place in slices}), first.source.files)
    source = replace(first.source, volume=None, slices=slices, files=files)
    return replace(first, volume="", grid=None, slice_index=(), source=source)
