"""The data flow of each method, as data: what stands where, and what goes from where to where.

`grid` places nodes as CSS does: a name that fills several cells of a column is one tall node, a
point is an empty cell. An edge is `a > b` where a gradient flows back through it, `a - b` where none
does, `a ~ b` where b is the moving average of a; `a > b - c` is two edges. A node that is not in
`NODES` is named in the diagram itself: its kind and its text, or its text alone for a tile.
"""

from __future__ import annotations

from diagram import Diagram, Node

LABELED_LOSS = "Dice + CE\nwith the label"
NODES = {
    "labeled": Node("tile", "labeled window"),
    "unlabeled": Node("tile", "unlabeled window"),
    "other": Node("tile", "another one"),
    "student": Node("student", "student"),
    "student_a": Node("student", "student a"),
    "student_b": Node("student", "student b"),
    "teacher": Node("teacher", "teacher"),
    "teacher_a": Node("teacher", "teacher a"),
    "teacher_b": Node("teacher", "teacher b"),
    "answer": Node("tile", "its answer"),
    "supervised": Node("loss", LABELED_LOSS),
}
LABELED = "labeled > student > answer > supervised"

DIAGRAMS = {
    "supervised": Diagram(
        grid=("labeled student answer supervised", "unlabeled . . ."),
        edges=(LABELED,),
        texts={"unlabeled": "unlabeled window:\nnot used"},
    ),
    "entropy_minimization": Diagram(
        grid=("labeled student answer supervised", "unlabeled student entropy least"),
        edges=(LABELED, "unlabeled > student > entropy > least"),
        texts={"entropy": "entropy of its answer"},
        boxes={"least": Node("loss", "mean entropy\n/ ln(classes)")},
    ),
    "mean_teacher": Diagram(
        grid=(
            "labeled . student answer supervised",
            "unlabeled . student said consistency",
            ". noisy teacher target consistency",
        ),
        edges=(
            LABELED,
            "unlabeled > student > said > consistency",
            "unlabeled - noisy - teacher - target - consistency",
            "student ~ teacher",
        ),
        texts={"noisy": "with noise", "said": "its probability", "target": "target"},
        boxes={"consistency": Node("loss", "squared\ndifference")},
    ),
    "uncertainty_aware_mean_teacher": Diagram(
        grid=(
            "labeled . student answer . supervised",
            "unlabeled . student said . consistency",
            ". noisy teacher target . consistency",
            ". noisier teacher doubt certain consistency",
        ),
        edges=(
            LABELED,
            "unlabeled > student > said > consistency",
            "unlabeled - noisy - teacher - target - consistency",
            "unlabeled - noisier - teacher - doubt - certain - consistency",
            "student ~ teacher",
        ),
        texts={
            "noisy": "with noise",
            "noisier": "8 times, and\nwith dropout",
            "said": "its probability",
            "target": "target",
            "doubt": "entropy of the mean\nof 8 answers",
            "certain": "gray: does not count",
        },
        boxes={"consistency": Node("loss", "squared\ndifference\nwhere certain")},
    ),
    "interpolation_consistency": Diagram(
        grid=(
            "labeled . student answer . supervised",
            "unlabeled blend student said . consistency",
            "other . teacher target_a target consistency",
            ". . teacher target_b target .",
        ),
        edges=(
            LABELED,
            "unlabeled > blend > student > said > consistency",
            "other > blend",
            "unlabeled - teacher - target_a - target - consistency",
            "other - teacher - target_b - target",
            "student ~ teacher",
        ),
        texts={
            "blend": "blend",
            "said": "its probability",
            "target_a": "of the one",
            "target_b": "of the other",
            "target": "the same blend",
        },
        boxes={"consistency": Node("loss", "squared\ndifference")},
    ),
    "fixmatch": Diagram(
        grid=(
            "labeled . student answer supervised",
            "unlabeled strong student said pseudo",
            ". . guesser sure pseudo",
        ),
        edges=(
            LABELED,
            "unlabeled > strong > student > said > pseudo",
            "unlabeled - guesser - sure - pseudo",
        ),
        texts={
            "unlabeled": "weak view",
            "strong": "strong view",
            "said": "answer to\nthe strong view",
            "sure": "label of the weak view\ngray: not sure",
        },
        boxes={
            "guesser": Node("student", "student,\neval mode"),
            "pseudo": Node("loss", "cross entropy\nwhere sure"),
        },
    ),
    "unimatch": Diagram(
        grid=(
            "labeled . student answer . supervised",
            "unlabeled strong_1 student said_1 . pseudo",
            "other strong_2 student said_2 . pseudo",
            ". . teacher sure target_1 pseudo",
            ". . . . target_2 .",
        ),
        edges=(
            LABELED,
            "unlabeled > strong_1 > student > said_1 > pseudo",
            "other > strong_1",
            "unlabeled > strong_2 > student > said_2 > pseudo",
            "other > strong_2",
            "unlabeled - teacher",
            "other - teacher - sure - target_1 - pseudo",
            "sure - target_2 - pseudo",
            "student ~ teacher",
        ),
        texts={
            "strong_1": "strong view, box\nof the other",
            "strong_2": "another strong view",
            "said_1": "answer, half of\nthe channels",
            "said_2": "answer, the\nother half",
            "sure": "sure labels of both\n(here of the one)",
            "target_1": "mixed as view 1",
            "target_2": "mixed as view 2",
        },
        boxes={"pseudo": Node("loss", "Dice of each\nview where\nsure")},
    ),
    "urpc": Diagram(
        grid=(
            "labeled student answer . supervised",
            "unlabeled student scale_0 mean agree",
            ". student scale_1 mean agree",
            ". student scale_2 mean agree",
            ". student scale_3 mean agree",
        ),
        edges=(
            LABELED,
            "unlabeled > student",
            *(f"student > scale_{k} > mean" for k in range(4)),
            "mean > agree",
        ),
        texts={
            "answer": "answer, and those\nof the heads",
            "scale_0": "its probability",
            "scale_1": "head at 1/2",
            "scale_2": "head at 1/4",
            "scale_3": "head at 1/8",
            "mean": "their mean",
        },
        boxes={
            "supervised": Node("loss", "Dice + CE of\nevery scale"),
            "agree": Node(
                "loss", "distance of\neach scale to\nthe mean, less\nwhere they differ\n+ KL"
            ),
        },
    ),
    "mixmatch": Diagram(
        grid=(
            "labeled . . . mixed_l student said_l labels",
            "unlabeled view_1 . . mixed_u student said_u guesses",
            ". view_2 guesser guess . . . .",
        ),
        edges=(
            "labeled > mixed_l > student > said_l > labels",
            "unlabeled > view_1 > mixed_l",
            "view_1 > mixed_u > student > said_u > guesses",
            "labeled > mixed_u",
            "unlabeled > view_2",
            "view_1 - guesser",
            "view_2 - guesser - guess - mixed_u",
            "guess - mixed_l",
        ),
        texts={
            "view_1": "turned",
            "view_2": "turned otherwise",
            "guess": "mean, turned back,\nsharpened",
            "mixed_l": "mostly labeled",
            "mixed_u": "mostly unlabeled",
            "said_l": "its probability",
            "said_u": "its probability",
        },
        boxes={
            "guesser": Node("student", "student,\neval mode"),
            "labels": Node("loss", "Dice + CE with\nthe mixed label"),
            "guesses": Node("loss", "squared difference\nto the mixed\nguess"),
        },
        note="Every window is blended with one that is drawn from all; images and targets alike."
        " The moving average of the student is what is deployed.",
    ),
    "cross_pseudo_supervision": Diagram(
        grid=(
            "labeled student_a answer_a supervised_a",
            "unlabeled student_a said_a cross_a",
            ". student_b said_b cross_b",
            ". student_b answer_b supervised_b",
        ),
        edges=(
            "labeled > student_a > answer_a > supervised_a",
            "labeled > student_b > answer_b > supervised_b",
            "unlabeled > student_a > said_a > cross_a",
            "unlabeled > student_b > said_b > cross_b",
            "said_a - cross_b",
            "said_b - cross_a",
        ),
        texts={
            "answer_a": "answer of a",
            "answer_b": "answer of b",
            "said_a": "label of a",
            "said_b": "label of b",
        },
        boxes={
            "supervised_a": Node("loss", LABELED_LOSS),
            "supervised_b": Node("loss", LABELED_LOSS),
            "cross_a": Node("loss", "CE of a with\nthe label of b"),
            "cross_b": Node("loss", "CE of b with\nthe label of a"),
        },
    ),
    "deep_co_training": Diagram(
        grid=(
            "labeled . student_a answer supervised",
            "unlabeled . student_a said_a agree",
            "unlabeled . student_b said_b agree",
            "unlabeled deceiving student_b fooled differ",
        ),
        edges=(
            "labeled > student_a > answer > supervised",
            "unlabeled > student_a > said_a > agree",
            "unlabeled > student_b > said_b > agree",
            "unlabeled - deceiving > student_b > fooled > differ",
            "said_a > differ",
        ),
        texts={
            "answer": "answer of a",
            "said_a": "probability of a",
            "said_b": "probability of b",
            "deceiving": "changed so that\na is deceived",
            "fooled": "probability of b,\ndeceived or not",
        },
        boxes={
            "agree": Node("loss", "Jensen-Shannon\ndivergence"),
            "differ": Node("loss", "CE of b with\nwhat a says of\nthe plain window"),
        },
        note="The same with a and b exchanged. Labeled windows are changed to deceive as well.",
    ),
    "dual_mean_teacher": Diagram(
        grid=(
            "labeled . student_a answer . supervised",
            "unlabeled strong_a student_a said_a . pseudo_a",
            "unlabeled . teacher_a label_a agreed .",
            "unlabeled . teacher_b label_b agreed .",
            "unlabeled strong_b student_b said_b . pseudo_b",
        ),
        edges=(
            "labeled > student_a > answer > supervised",
            "unlabeled > strong_a > student_a > said_a > pseudo_a",
            "unlabeled > strong_b > student_b > said_b > pseudo_b",
            "unlabeled - teacher_a - label_a - agreed - pseudo_a",
            "unlabeled - teacher_b - label_b - agreed - pseudo_b",
            "student_a ~ teacher_a",
            "student_b ~ teacher_b",
        ),
        texts={
            "answer": "answer of a",
            "strong_a": "strong view",
            "strong_b": "another strong view",
            "said_a": "answer of a",
            "said_b": "answer of b",
            "label_a": "label of teacher a",
            "label_b": "label of teacher b",
            "agreed": "gray: they differ,\nor one is not sure",
        },
        boxes={
            "pseudo_a": Node("loss", "Dice + CE of a\nwhere they agree"),
            "pseudo_b": Node("loss", "Dice + CE of b\nwhere they agree"),
        },
        note="Student b learns the labeled windows as student a does.",
    ),
    "bcp": Diagram(
        grid=(
            "labeled inward student said_in . mixed",
            "unlabeled outward student said_out . mixed",
            ". . teacher pseudo target_in mixed",
            ". . . . target_out .",
        ),
        edges=(
            "labeled > inward > student > said_in > mixed",
            "unlabeled > inward",
            "labeled > outward > student > said_out > mixed",
            "unlabeled > outward",
            "unlabeled - teacher - pseudo - target_in - mixed",
            "pseudo - target_out - mixed",
            "student ~ teacher",
        ),
        texts={
            "inward": "unlabeled box\nin labeled window",
            "outward": "labeled box\nin unlabeled window",
            "said_in": "its answer",
            "said_out": "its answer",
            "pseudo": "its label,\nlargest piece",
            "target_in": "with the true label,\nby the same box",
            "target_out": "and the other way",
        },
        boxes={
            "mixed": Node("loss", "Dice + CE\ntrue label: 1\npseudo-label: 1/2"),
        },
    ),
    "frequency_copy_paste": Diagram(
        grid=(
            "labeled low_l pasted_low student_low said_low . mixed",
            "labeled low_u pasted_low student_low . target_low mixed",
            ". . . teacher pseudo . mixed",
            "unlabeled high_l pasted_high student_high . target_high mixed",
            "unlabeled high_u pasted_high student_high said_high . mixed",
        ),
        edges=(
            "labeled > low_l > pasted_low > student_low > said_low > mixed",
            "unlabeled > low_u > pasted_low",
            "labeled > high_l > pasted_high > student_high > said_high > mixed",
            "unlabeled > high_u > pasted_high",
            "unlabeled - teacher - pseudo - target_low - mixed",
            "pseudo - target_high - mixed",
            "student_low ~ teacher",
            "student_high ~ teacher",
        ),
        texts={
            "low_l": "its low view",
            "low_u": "low view of the\nunlabeled window",
            "high_l": "high view of the\nlabeled window",
            "high_u": "its high view",
            "pasted_low": "unlabeled box\nin labeled view",
            "pasted_high": "labeled box\nin unlabeled view",
            "said_low": "its probability",
            "said_high": "its probability",
            "pseudo": "its largest piece",
            "target_low": "and the true label",
            "target_high": "and the other way",
        },
        boxes={
            "student_low": Node("student", "student,\nlow view"),
            "student_high": Node("student", "student,\nhigh view"),
            "mixed": Node("loss", "Dice + CE of\neach student\ntrue label: 1\npseudo-label: 1/2"),
        },
        note="Each student learns both pastes of its views.",
    ),
}
