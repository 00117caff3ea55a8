"""What methods there are: facts for lists and for programs that build them, without any of them.

Nothing is imported here, so that a list is told at once. A test compares each entry with its class.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from medsemi.errors import ConfigError


@dataclass(frozen=True, slots=True)
class MethodEntry:
    """One method.

    Attributes:
        name: its module in `medsemi.methods`.
        class_name: its class in that module.
        summary: one line.
        paper: authors, place and year.
        cost: work of a step with default settings, by that of a supervised step.
        needs: arguments beyond `network` that depend on the networks and have no default.
        step_shares: arguments that are a number of steps -> usual share of the training, which
            their methods cannot know.
        dims: axes of the windows that it takes.
        pretraining: full name of the class that trains its start on the labeled windows; empty for
            a method that starts from fresh weights.
    """

    name: str
    class_name: str
    summary: str
    paper: str
    cost: float
    needs: tuple[str, ...] = ()
    step_shares: Mapping[str, float] = field(default_factory=dict)
    dims: tuple[int, ...] = (2, 3)
    pretraining: str = ""

    @property
    def target(self) -> str:
        """The class by its full name, as `_target_` of a bundle takes it."""
        return f"medsemi.methods.{self.name}.{self.class_name}"

    @property
    def learns_unlabeled(self) -> bool:
        """Whether it takes unlabeled windows; all do but the baseline."""
        return self.name != "supervised"


RAMP = {"rampup_steps": 0.3}
RANDOM_VIEWS = "medsemi.methods.cfcnet.RandomViewPretraining"

METHODS = (
    MethodEntry(
        "supervised",
        "Supervised",
        "Learns the labeled windows alone; the baseline of every table",
        "",
        1.0,
    ),
    MethodEntry(
        "entropy_minimization",
        "EntropyMinimization",
        "Is made sure of unlabeled windows, whatever it says of them",
        "Grandvalet and Bengio, NeurIPS 2004; Vu et al., CVPR 2019",
        2.0,
        step_shares=RAMP,
    ),
    MethodEntry(
        "mean_teacher",
        "MeanTeacher",
        "Agrees with the moving average of its own weights under noise",
        "Tarvainen and Valpola, NeurIPS 2017",
        7 / 3,
        step_shares=RAMP,
    ),
    MethodEntry(
        "uncertainty_aware_mean_teacher",
        "UncertaintyAwareMeanTeacher",
        "A mean teacher that counts voxels of which it is certain in repeated passes (UA-MT)",
        "Yu et al., MICCAI 2019",
        5.0,
        step_shares={"rampup_steps": 1.0},
    ),
    MethodEntry(
        "interpolation_consistency",
        "InterpolationConsistency",
        "Says of a mixture of windows the mixture of what its teacher says of each (ICT)",
        "Verma et al., IJCAI 2019",
        7 / 3,
        step_shares=RAMP,
    ),
    MethodEntry(
        "fixmatch",
        "FixMatch",
        "Learns on a strong view the voxels of which it is sure on the weak one",
        "Sohn et al., NeurIPS 2020",
        7 / 3,
        step_shares=RAMP,
    ),
    MethodEntry(
        "unimatch",
        "UniMatch",
        "Learns a teacher's sure voxels on two strong views with complementary features (V2)",
        "Yang et al., CVPR 2023 and arXiv 2410.10777",
        10 / 3,
    ),
    MethodEntry(
        "urpc",
        "URPC",
        "Makes the scales of one decoder agree",
        "Luo et al., MICCAI 2021",
        2.0,
        needs=("classes", "stages"),
        step_shares=RAMP,
    ),
    MethodEntry(
        "mixmatch",
        "MixMatch",
        "Mixes labeled windows with unlabeled ones and sharpened guesses of their labels",
        "Berthelot et al., NeurIPS 2019 and ICLR 2020",
        11 / 3,
        step_shares=RAMP,
    ),
    MethodEntry(
        "cross_pseudo_supervision",
        "CrossPseudoSupervision",
        "Two networks learn each other's hard labels (CPS)",
        "Chen et al., CVPR 2021",
        4.0,
        needs=("network_b",),
        step_shares=RAMP,
    ),
    MethodEntry(
        "deep_co_training",
        "DeepCoTraining",
        "Two networks agree, and each resists the windows that deceive the other",
        "Qiao et al., ECCV 2018",
        32 / 3,
        needs=("network_b",),
        step_shares=RAMP,
    ),
    MethodEntry(
        "dual_mean_teacher",
        "DualMeanTeacher",
        "Two students learn the voxels on which their two teachers agree",
        "Guo et al., NeurIPS 2023",
        14 / 3,
        needs=("network_b",),
        step_shares={"warmup_steps": 0.1, **RAMP},
    ),
    MethodEntry(
        "bcp",
        "BCP",
        "Pastes labeled windows into unlabeled ones and back; a teacher labels the latter",
        "Bai et al., CVPR 2023",
        4 / 3,
        pretraining="medsemi.methods.bcp.CopyPastePretraining",
    ),
    MethodEntry(
        "cfcnet",
        "CFCNet",
        "Two students on two frequency views teach each other, with a teacher on the whole",
        "Zhou et al., arXiv 2504.11856 (a re-creation)",
        19 / 3,
        step_shares={"rampup_steps": 0.4},
        pretraining=RANDOM_VIEWS,
    ),
    MethodEntry(
        "frequency_copy_paste",
        "FrequencyCopyPaste",
        "Copy-paste for two students on two frequency views, with one teacher on the whole",
        "medsemi, from BCP and CFC-Net",
        7 / 3,
        pretraining=RANDOM_VIEWS,
    ),
)


def find_method(name: str) -> MethodEntry:
    """Return the entry called `name`.

    Raises:
        ConfigError: if there is none; it names the nearest.
    """
    by_name = {entry.name: entry for entry in METHODS}
    if name not in by_name:
        near = difflib.get_close_matches(name, by_name, 1, cutoff=0.3) or list(by_name)
        raise ConfigError(f"There is no method '{name}'; did you mean {', '.join(near)}?")
    return by_name[name]
