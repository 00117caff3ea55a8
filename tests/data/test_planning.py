"""Plans against the rules that they follow, and as overlays that a bundle takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from medsemi.bundle.lint import lint_configs
from medsemi.cli.main import main
from medsemi.data.fingerprint import CaseFacts, Fingerprint, take_fingerprint
from medsemi.data.manifest import load_manifest
from medsemi.data.plan_overlay import overlay_text
from medsemi.data.planning import PRESETS, Plan, make_plan, target_spacing, topology
from medsemi.errors import ConfigError, DataError
from medsemi.networks.norms import affine_norm

CONFIGS = Path(__file__).parents[2] / "bundles" / "left_atrium_mri_bcp" / "configs"


def fingerprint(*rows: tuple, least: float = 0.0) -> Fingerprint:
    cases = tuple(CaseFacts(str(n), shape, spacing) for n, (shape, spacing) in enumerate(rows))
    classes = {0: "background", 1: "organ", 2: "tumor"}
    volumes = {"organ": 50_000.0, "tumor": 800.0}
    return Fingerprint(cases, classes, (-60.0, 90.0, 240.0), least, volumes)


ISOTROPIC = ((200, 180, 160), (1.0, 1.0, 1.0))
COARSE = ((256, 224, 10), (1.5625, 1.5625, 10.0))


def test_the_network_of_isotropic_volumes_has_six_stages_from_128_voxels() -> None:
    window, strides, kernels = topology((1, 1, 1), (128, 128, 128), 9)
    assert window == (128, 128, 128)
    assert strides == ((1, 1, 1), *[(2, 2, 2)] * 5)
    assert kernels == ((3, 3, 3),) * 6


def test_the_network_of_cardiac_slices_is_that_of_nnunet() -> None:
    """Its plan for ACDC: slices are halved first, and the first kernels stay within them."""
    window, strides, kernels = topology((1.5625, 1.5625, 5.0), (256, 224, 20), 9)
    assert window == (256, 224, 20)
    flat, full = (2, 2, 1), (2, 2, 2)
    assert strides == ((1, 1, 1), flat, full, full, flat, flat)
    assert kernels == ((3, 3, 1), *[(3, 3, 3)] * 5)


def test_spacing_is_the_median_and_far_coarser_axes_take_a_finer_one() -> None:
    assert target_spacing(fingerprint(ISOTROPIC, ((100, 90, 80), (2.0, 2.0, 2.0)))) == (1.5,) * 3
    mixed = fingerprint(*[COARSE] * 8, *[((256, 224, 20), (1.5625, 1.5625, 5.0))] * 2)
    assert target_spacing(mixed) == (1.5625, 1.5625, 5.0)


def test_slices_of_labeled_cases_are_not_made_coarser() -> None:
    """Four labeled cases at 1 mm among forty unlabeled ones at 5 mm, with lesions of two slices."""
    fine = [CaseFacts(f"l{n}", (400, 400, 250), (0.9, 0.9, 1.0), is_labeled=True) for n in range(4)]
    coarse = [CaseFacts(f"u{n}", (400, 400, 50), (0.9, 0.9, 5.0)) for n in range(40)]
    facts = fingerprint()
    planned = target_spacing(replace(facts, cases=(*fine, *coarse)))
    assert planned == (0.9, 0.9, 1.0)
    thick = [replace(case, is_labeled=True) for case in coarse]
    assert target_spacing(replace(facts, cases=(*thick, *coarse))) == (0.9, 0.9, 5.0)
    thin_unlabeled = [replace(case, is_labeled=False) for case in fine]
    planned = target_spacing(replace(facts, cases=(*thick, *thin_unlabeled)))
    assert planned == (0.9, 0.9, 5.0)


@pytest.mark.parametrize(
    ("thick", "fine", "slices", "expected"),
    [
        (3.1, 1.5, 33, 1.5),
        (2.9, 1.5, 33, 2.9),  # not far coarser
        (3.1, 1.5, 34, 3.1),  # not far fewer slices
        (3.1, 0.8, 33, 1.00001),  # the coarsest axis stays the coarsest
    ],
)
def test_a_spacing_of_few_thick_slices_is_their_tenth_percentile(
    thick: float, fine: float, slices: int, expected: float
) -> None:
    """Of eleven cases that is the second finest."""
    along = (0.7, fine, *[thick] * 9)
    facts = fingerprint(*[((100, 100, slices), (1.0, 1.0, edge)) for edge in along])
    assert target_spacing(facts) == (1.0, 1.0, expected)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("case", [ISOTROPIC, COARSE, ((60, 50, 40), (1, 1, 1))])
def test_a_window_fits_the_machine_and_the_network(preset: str, case: tuple) -> None:
    plan, machine = make_plan(fingerprint(case), preset), PRESETS[preset]
    assert np.prod(plan.window) <= machine.voxels
    step = np.prod(np.array(plan.strides), axis=0)
    assert not (np.array(plan.window) % step).any()
    assert (np.array(plan.window) < np.array(case[0]) + step).all()
    assert len(plan.strides) == len(plan.kernels) == len(plan.filters) <= machine.stages
    assert max(plan.filters) <= machine.most_filters
    assert plan.spacing == pytest.approx(case[1])
    assert plan.coarse_axis == (2 if case is COARSE else None)


def test_small_windows_come_in_larger_batches_within_a_twentieth_of_the_voxels() -> None:
    large = make_plan(fingerprint(*[ISOTROPIC] * 40), "gpu")
    assert large.windows == 2
    flat = ((64, 64, 32), (1.0, 1.0, 1.0))
    many, few = (make_plan(fingerprint(*[flat] * n), "gpu") for n in (900, 200))
    assert (many.windows, few.windows) == (32, 10)
    assert make_plan(fingerprint(flat), "gpu").windows == 2
    # 11.5 windows would show a twentieth; twelve are more than that.
    assert make_plan(fingerprint(*[flat] * 230), "gpu").windows == 10


def test_a_batch_never_shows_more_voxels_than_the_machine_carries() -> None:
    for edge in range(40, 128, 8):
        many = fingerprint(*[((edge, edge, 40), (1.0, 1.0, 1.0))] * 4000)
        for preset, machine in PRESETS.items():
            plan = make_plan(many, preset)
            shown = plan.windows * np.prod(plan.window)
            assert plan.windows == 2 or shown <= machine.windows * machine.voxels


@pytest.mark.parametrize("bundle", ["any_organ_bcp", "root_canal_cbct_cfcnet"])
def test_every_bundle_for_volumes_takes_it(tmp_path: Path, bundle: str) -> None:
    facts = fingerprint(ISOTROPIC)
    file = overlay(tmp_path / "plan.yaml", make_plan(facts, "cpu"), facts)
    configs = CONFIGS.parents[1] / bundle / "configs"
    files = [configs / "common.yaml", configs / "method.yaml", file]
    assert [str(finding) for finding in lint_configs(files)] == []


def test_the_norm_of_a_plan_learns_scale_and_shift_and_others_are_named(tmp_path: Path) -> None:
    facts = fingerprint(ISOTROPIC)
    file = overlay(tmp_path / "plan.yaml", make_plan(facts, "cpu"), facts)
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "common.yaml"), str(file)])
    network = parser.get_parsed_content("network_def")
    norms = [part for part in network.modules() if isinstance(part, torch.nn.InstanceNorm3d)]
    assert norms
    assert all(part.affine for part in norms)
    with pytest.raises(ConfigError, match="norm is 'group'"):
        affine_norm("group")


def test_volumes_that_are_too_small_for_the_network_are_named() -> None:
    with pytest.raises(ConfigError, match="too small for a U-Net: 2 stages"):
        make_plan(fingerprint(((14, 14, 14), (1.0, 1.0, 1.0))), "cpu")


def test_values_of_ct_are_clipped_and_of_mr_standardized() -> None:
    assert make_plan(fingerprint(ISOTROPIC, least=-201), "cpu").clip == (-60.0, 240.0)
    assert make_plan(fingerprint(ISOTROPIC, least=-199), "cpu").clip is None
    with pytest.raises(ConfigError, match="preset is 'tpu'"):
        make_plan(fingerprint(ISOTROPIC), "tpu")


def write(folder: Path, name: str, values: np.ndarray, affine: np.ndarray) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), folder / name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two labeled cases and an unlabeled one, which lies on its side; a test case that is absent."""
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    for number in (1, 2):
        image = np.full((20, 18, 10), -1000, np.int16)
        label = np.zeros(image.shape, np.uint8)
        image[4:8, 4:8, 4:6], label[4:8, 4:8, 4:6] = 100 * number, 1
        write(tmp_path, f"images/{number}.nii.gz", image, affine)
        write(tmp_path, f"labels/{number}.nii.gz", label, affine)
    sideways = np.array([[0, 0, 2.0, 0], [1.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])
    write(tmp_path, "images/3.nii.gz", np.zeros((30, 8, 12), np.int16), sideways)
    manifest = {
        "name": "small", "classes": {"0": "background", "1": "cube"},
        "image": "images/{case}.nii.gz", "label": "labels/{case}.nii.gz",
        "labeled": ["1", "2"], "unlabeled": ["3"], "validation": ["no"], "test": ["never"],
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_a_fingerprint_measures_what_training_sees(data: Path) -> None:
    found = take_fingerprint(load_manifest(data / "manifest.json"), data)
    assert [case.shape for case in found.cases] == [(20, 18, 10), (20, 18, 10), (12, 30, 8)]
    assert found.cases[2].spacing == (2.0, 1.0, 4.0)
    assert [case.is_labeled for case in found.cases] == [True, True, False]
    assert found.median_spacing == (1.0, 1.0, 3.0)
    assert found.percentiles == (100.0, 150.0, 200.0)
    assert found.volumes == {"cube": 4 * 4 * 2 * 3.0}
    assert found.modality == "CT"


def test_a_saturated_structure_takes_the_range_of_the_whole_image(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Metal at the end of the scale: its own range is empty."""
    for number in (1, 2):
        image = np.asarray(nibabel.load(data / f"images/{number}.nii.gz").dataobj).copy()
        image[image > 0] = 3071
        write(data, f"images/{number}.nii.gz", image, np.diag([1.0, 1.0, 3.0, 1.0]))
    output, manifest = data / "plan.yaml", load_manifest(data / "manifest.json")
    assert take_fingerprint(manifest, data).percentiles == (3071.0,) * 3
    line = ["fingerprint", "--dataset_dir", str(data), "--manifest", str(data / "manifest.json")]
    assert main([*line, "--output", str(output)]) == 0
    assert "less than 1 HU in structures" in capsys.readouterr().out
    assert yaml.safe_load(output.read_text())["clip"] == [-1000.0, 3071.0]
    assert "less than 1 HU in structures" in output.read_text()


def test_images_of_one_value_are_named() -> None:
    flat = replace(fingerprint(ISOTROPIC, least=-1024), percentiles=(7.0,) * 3)
    with pytest.raises(ConfigError, match="the whole images as well"):
        make_plan(replace(flat, whole=(7.0, 7.0)), "cpu")
    assert make_plan(replace(flat, whole=(-1024.0, 7.0)), "cpu").clip == (-1024.0, 7.0)
    assert make_plan(replace(flat, given_modality="MR"), "cpu").clip is None


def test_who_knows_the_modality_says_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A crop of CT without air, whose values alone are taken for MR."""
    for number in (1, 2):
        path = data / f"images/{number}.nii.gz"
        image = np.asarray(nibabel.load(path).dataobj).clip(-90)
        write(data, f"images/{number}.nii.gz", image, np.diag([1.0, 1.0, 3.0, 1.0]))
    manifest, output = data / "manifest.json", data / "plan.yaml"
    line = ["fingerprint", "--dataset_dir", str(data), "--manifest", str(manifest)]
    line += ["--output", str(output), "--overwrite"]
    words = "MR (values from -90, where CT has air; else give --modality CT)"
    assert main(line) == 0
    assert words in " ".join(capsys.readouterr().out.split())
    assert yaml.safe_load(output.read_text())["clip"] is None
    assert main([*line, "--modality", "CT"]) == 0
    assert "CT (as given by --modality)" in capsys.readouterr().out
    assert yaml.safe_load(output.read_text())["clip"] == [100.0, 200.0]
    assert "--modality CT" in output.read_text()
    document = json.loads(manifest.read_text()) | {"modality": "CT"}
    manifest.write_text(json.dumps(document))
    assert main(line) == 0
    assert "CT (as the manifest says)" in capsys.readouterr().out
    assert main([*line, "--modality", "MR"]) == 0
    assert "MR (as given by --modality)" in capsys.readouterr().out


@pytest.mark.parametrize(("dark", "modality"), [(40, "CT"), (33, "MR")])
def test_the_darkest_hundredth_of_an_image_tells_nothing(
    data: Path, dark: int, modality: str
) -> None:
    image = np.zeros((20, 18, 10), np.int16)
    image.flat[:dark] = -1000
    for number in (1, 2):
        write(data, f"images/{number}.nii.gz", image, np.diag([1.0, 1.0, 3.0, 1.0]))
    assert take_fingerprint(load_manifest(data / "manifest.json"), data).modality == modality


def test_an_image_of_a_plane_is_named(data: Path) -> None:
    write(data, "images/3.nii.gz", np.zeros((12, 30), np.float32), np.eye(4))
    with pytest.raises(DataError, match=r"3: shape \(12, 30\) is no volume"):
        take_fingerprint(load_manifest(data / "manifest.json"), data)


@pytest.mark.parametrize("number", [2, 3])
def test_what_training_refuses_is_not_planned_for(data: Path, number: int) -> None:
    manifest = load_manifest(data / "manifest.json")
    write(data, f"images/{number}.nii.gz", np.zeros((20, 18, 10, 2), np.float32), np.eye(4))
    with pytest.raises(DataError, match="the image has 2 channels"):
        take_fingerprint(manifest, data)
    holes = np.full((20, 18, 10), np.nan, np.float32)
    write(data, "images/2.nii.gz", holes, np.diag([1.0, 1.0, 3.0, 1.0]))
    write(data, "images/3.nii.gz", np.zeros((12, 30, 8), np.float32), np.eye(4))
    with pytest.raises(DataError, match=r"2\.nii\.gz: the volume has NaN"):
        take_fingerprint(manifest, data)


def test_labels_without_a_structure_or_of_another_shape_are_named(data: Path) -> None:
    manifest = load_manifest(data / "manifest.json")
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    for number in (1, 2):
        empty = np.zeros((20, 18, 10), np.uint8)
        write(data, f"labels/{number}.nii.gz", empty, affine)
    with pytest.raises(DataError, match="No labeled case of small"):
        take_fingerprint(manifest, data)
    write(data, "labels/2.nii.gz", np.zeros((20, 18, 9), np.uint8), affine)
    with pytest.raises(DataError, match=r"labels/2\.nii\.gz: the label has shape \(20, 18, 9\)"):
        take_fingerprint(manifest, data)
    write(data, "labels/2.nii.gz", np.zeros((20, 18, 10), np.uint8), np.eye(4))
    with pytest.raises(DataError, match=r"labels/2\.nii\.gz: the affine differs"):
        take_fingerprint(manifest, data)


def test_a_label_that_scaling_rounded_counts_as_whole(data: Path) -> None:
    """Cut off, 0.9999 would be background."""
    manifest = load_manifest(data / "manifest.json")
    found = take_fingerprint(manifest, data)
    for number in (1, 2):
        label = np.zeros((20, 18, 10), np.float32)
        label[4:8, 4:8, 4:6] = 0.9999
        write(data, f"labels/{number}.nii.gz", label, np.diag([1.0, 1.0, 3.0, 1.0]))
    assert take_fingerprint(manifest, data) == found


@pytest.mark.parametrize("value", [-1, 2, 0.5, np.nan])
def test_values_outside_the_classes_are_named(data: Path, value: float) -> None:
    label = np.zeros((20, 18, 10), np.float32)
    label[4:8, 4:8, 4:6], label[0, 0, 0] = 1, value
    write(data, "labels/2.nii.gz", label, np.diag([1.0, 1.0, 3.0, 1.0]))
    words = (
        rf"2\.nii\.gz: the label has the values \{{{value:g}\}}(, which are no whole| outside the)"
    )
    with pytest.raises(DataError, match=words):
        take_fingerprint(load_manifest(data / "manifest.json"), data)


def test_the_command_writes_an_overlay(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--dataset_dir", str(data), "--manifest", str(data / "manifest.json")]
    assert main(["fingerprint", *options, "--output", str(data / "plan.yaml")]) == 0
    assert "3 cases, CT" in capsys.readouterr().out
    text = (data / "plan.yaml").read_text()
    plan = yaml.safe_load(text)
    assert plan["spacing"] == [1.0, 1.0, 3.0]
    assert (plan["clip"], plan["intensity_norm"]) == ([100.0, 200.0], "range")
    assert plan["preparation"]["modality"] == ["CT"]
    (data / "plan.yaml").write_text(text + "# edited\n")
    assert main(["fingerprint", *options, "--output", str(data / "plan.yaml")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert (data / "plan.yaml").read_text().endswith("# edited\n")


def overlay(path: Path, plan: Plan, facts: Fingerprint) -> Path:
    path.write_text(overlay_text(facts, plan, "a test"))
    return path


@pytest.mark.parametrize("least", [0.0, -1000.0])
def test_the_bundle_takes_it_and_its_network_runs(tmp_path: Path, least: float) -> None:
    facts = fingerprint(COARSE, ((256, 224, 12), (1.4, 1.4, 8.0)), least=least)
    file = overlay(tmp_path / "plan.yaml", make_plan(facts, "cpu"), facts)
    for workflow in ("pretrain", "train", "method", "evaluate", "inference"):
        files = [CONFIGS / "common.yaml", CONFIGS / f"{workflow}.yaml", file]
        assert [str(finding) for finding in lint_configs(files)] == []
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "common.yaml"), str(file)])
    parser["filters"] = 2
    network = parser.get_parsed_content("network_def").eval()
    window = parser["window"]
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *window)).shape == (1, 3, *window)
    assert parser["rotation"] == [0, 0, 180]
    assert parser["preparation"]["modality"] == (["CT"] if least < 0 else ["any"])


def test_what_is_edited_in_an_overlay_counts(tmp_path: Path) -> None:
    facts = fingerprint(COARSE)
    file = overlay(tmp_path / "plan.yaml", make_plan(facts, "cpu"), facts)
    edits = {
        "spacing": [2.0, 2.0, 9.0],
        "clip": [0.0, 9.0],
        "intensity_norm": "none",
        "norm": "batch",
    }
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / "common.yaml"), str(file)])
    parser.update(edits)
    steps = parser.get_parsed_content("preprocessing").transforms
    assert [type(step).__name__ for step in steps[3:]] == ["ScaleIntensityRanged", "Spacingd"]
    assert steps[-1].spacing_transform.pixdim.tolist() == edits["spacing"]
    network = parser.get_parsed_content("network_def")
    assert any(isinstance(part, torch.nn.BatchNorm3d) for part in network.modules())
    found = parser.get_parsed_content("preparation")
    assert found["spacing"] == edits["spacing"]
    assert found["intensity"] == {"clip": [0.0, 9.0], "norm": "none"}
