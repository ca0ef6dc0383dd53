"""What a release needs agrees with itself: workflows, versions, the tag's check. Building is `make dist`."""

import importlib.util
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest

import minidl

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CI = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


def check_tag():
    path = ROOT / ".ci" / "check_tag.py"
    spec = importlib.util.spec_from_file_location("check_tag", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_workflows_run_what_is_there():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert len(WORKFLOWS) == 2
    for workflow in WORKFLOWS:
        commands = re.findall(r"^\s*- run: (.+)$", workflow.read_text(encoding="utf-8"), re.M)
        assert commands
        for command in commands:
            tool, *rest = command.split()
            if tool == "make":
                assert set(rest) <= set(targets)
            elif tool == "python":
                assert (ROOT / rest[0]).exists()
            else:
                assert os.access(ROOT / tool, os.X_OK), f"{tool} cannot be run"


def test_workflows_are_yaml_and_say_what_is_untried():
    yaml = pytest.importorskip("yaml")
    for workflow in WORKFLOWS:
        text = workflow.read_text(encoding="utf-8")
        jobs = yaml.safe_load(text)["jobs"]
        assert all(job["runs-on"] and job["steps"] for job in jobs.values())
        assert "# Untried: this file has never run" in text


def test_the_matrix_has_every_version_that_is_claimed():
    pythons = re.findall(r'"(3\.\d+)"', re.search(r"python: \[(.+)\]", CI)[1])
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert pythons[0] == oldest and len(set(pythons)) == len(pythons) == 4
    claimed = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert claimed and set(claimed) <= set(pythons)
    floors = dict(need.split(">=") for need in PROJECT["dependencies"] if ">=" in need)
    assert f'numpy: "{floors["numpy"]}.0"' in CI
    pin = f"threadpoolctl=={floors['threadpoolctl']}.0"
    assert pin in (ROOT / ".ci" / "test").read_text(encoding="utf-8")


def test_the_version_to_cite():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {minidl.__version__}\n" in text


def test_a_tag_is_checked(tmp_path):
    check = check_tag().problems
    for name in ("CHANGELOG.md", "CITATION.cff", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "minidl").mkdir()
    shutil.copy(ROOT / "minidl" / "__init__.py", tmp_path / "minidl")
    version = minidl.__version__
    text = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = re.sub(r"^## .+$", f"## {version} (2030-01-31)", text, count=1, flags=re.M)
    (tmp_path / "CHANGELOG.md").write_text(dated, encoding="utf-8")
    project = '[project]\nname = "minidl"\n[project.urls]\nRepository = "x"\n'
    (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    assert check(f"v{version}", tmp_path) == []
    (wrong,) = check("v9.9.9", tmp_path)
    assert wrong == f"the tag is v9.9.9, but minidl.__version__ is {version}: want v{version}"
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 9.0 (unreleased)\n", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "minidl"\n', encoding="utf-8")
    (tmp_path / "CITATION.cff").write_text("version: 8\n", encoding="utf-8")
    problems = check(f"v{version}", tmp_path)
    starts = (
        "CHANGELOG.md begins with '9.0 (unreleased)'",
        "CITATION.cff",
        "pyproject.toml has no",
    )
    assert len(problems) == 3
    assert all(problem.startswith(start) for problem, start in zip(problems, starts, strict=True))
