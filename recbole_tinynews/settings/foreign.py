"""Settings that a stage does not read, which its fingerprint leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from recbole_tinynews.paths import packaged_folder
from recbole_tinynews.settings.layers import ModelFiles, StageYaml
from recbole_tinynews.settings.literals import read_yaml
from recbole_tinynews.settings.names import recbole_overall_settings


def settings_of_others(
    stage: str,
    stages: Mapping[str, StageYaml],
    of_stage: ModelFiles,
    of_system: ModelFiles,
    is_last: bool,
    is_student: bool,
) -> set[str]:
    """Settings declared only by the yaml of the system or of another stage.

    A student ignores only settings declared outside the package: another weight of a user's own
    loss does not retrain Stage I. A user's own stage may read every setting.
    """
    packaged = packaged_folder("properties")
    ours = {name for name, each in stages.items() if packaged in each.file.parents}
    if stage not in ours and not is_last:
        return set()
    others = _names_in(of_system.own)
    shared = _names_in([of_stage.overall, *of_stage.own])
    for other, yaml in stages.items():
        if other == stage or (is_student and other in ours):
            shared |= yaml.declares
        elif other in ours or stage in ours:
            others |= yaml.declares
    if is_student:
        shared |= _names_in(file for file in of_system.own if packaged in file.parents)
    return others - shared - recbole_overall_settings().keys()


def _names_in(files: Iterable[Path]) -> set[str]:
    return {name for file in files for name in read_yaml(file)}
