"""What is held together around a release: changelog, built files, forms, hooks, claims."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import check_release
import pytest
import yaml

import snnlib

ROOT = Path(__file__).resolve().parent.parent
FORMS = sorted(p for p in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if p.stem != "config")
VERSION = check_release.project_version()


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version():
    assert snnlib.__version__ == VERSION


def test_the_changelog_has_this_version_and_what_is_to_come():
    entries = check_release.entries(read("CHANGELOG.md"))
    first, *dated = entries
    assert first == "Unreleased"
    assert entries[first][0] is None
    assert dated[0] == VERSION
    dates = [entries[version][0] for version in dated]
    assert dates == sorted(dates, reverse=True)
    assert dates[0] == str(yaml.safe_load(read("CITATION.cff"))["date-released"])
    assert all("### Figures" in entries[version][1] for version in dated)


def test_the_changelog_names_what_there_is():
    rows = re.findall(r"^  \| (?!old|-)(.+) \| (.+) \|$", read("CHANGELOG.md"), re.MULTILINE)
    assert rows
    files = ROOT.glob("snnlib/**/*.py")
    library = "".join(file.read_text(encoding="utf-8") for file in files)
    for _, new in rows:
        for name in re.findall(r"`(?:\w+\.)*(\w+)`", new):
            assert re.search(rf"\b{name}\b", library), name


def test_the_changelog_says_which_tables_were_measured_since_the_release():
    """A table that is younger than the newest version stands under Unreleased."""
    entries = check_release.entries(read("CHANGELOG.md"))
    released = entries[VERSION][0]
    for file in (ROOT / "benchmarks" / "results").glob("*.json"):
        stamps = json.loads(file.read_text(encoding="utf-8"))["stamps"].values()
        if max(stamp["date"] for stamp in stamps) > released:
            assert f"(`{file.stem}`)" in entries["Unreleased"][1], file.stem


BUILD = "import sys, setuptools.build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"


def build(sources, kind, target):
    """Let setuptools build from a folder, without a network."""
    command = [sys.executable, "-c", BUILD, kind, str(target)]
    subprocess.run(command, cwd=sources, check=True, capture_output=True)


@pytest.fixture
def release(checkout, tmp_path):
    """A folder with a source distribution of the checkout, and the wheel that is built of it."""
    folder = tmp_path / "dist"
    folder.mkdir()
    build(checkout, "build_sdist", folder)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    build(next((tmp_path / "unpacked").iterdir()), "build_wheel", folder)
    return folder


def test_what_is_built_is_whole(release, capsys):
    check_release.main(f"v{VERSION}", release)
    assert (
        capsys.readouterr().out.strip() == check_release.entries(read("CHANGELOG.md"))[VERSION][1]
    )
    with zipfile.ZipFile(next(release.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    library = {str(p.relative_to(ROOT)) for p in ROOT.glob("snnlib/**/*.py")}
    assert library <= set(names)
    assert not [
        name for name in names if not name.startswith(("snnlib/", f"snnlib-{VERSION}.dist"))
    ]
    with tarfile.open(next(release.glob("*.tar.gz"))) as archive:
        assert not [name for name in archive.getnames() if "/tests" in name]


def test_what_is_not_whole_is_refused(release):
    wheel, sources = next(release.glob("*.whl")), next(release.glob("*.tar.gz"))
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(release / "new", "w") as new:
        for name in set(old.namelist()) - {"snnlib/py.typed"}:
            new.writestr(name, old.read(name))
    (release / "new").replace(wheel)
    lacks = f"{wheel.name} lacks ['snnlib/py.typed']"
    assert list(check_release.problems(f"v{VERSION}", release)) == [lacks]
    sources.unlink()
    with pytest.raises(SystemExit, match=f"(?s)the tag is v9, but .*got .*{wheel.name}.*lacks"):
        check_release.main("v9", release)


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        (
            "pyproject.toml",
            f'"{VERSION}"',
            '"7.0"',
            r"the tag is .*, but pyproject.toml says .* 7\.0",
        ),
        ("snnlib/__init__.py", f'"{VERSION}"', '"7.0"', r"snnlib says version 7\.0"),
        ("CHANGELOG.md", f"## [{VERSION}] - ", "## ", "CHANGELOG.md has no entry"),
        (
            "CITATION.cff",
            f"version: {VERSION}",
            "version: 7.0",
            "CITATION.cff lacks the line version",
        ),
        ("CITATION.cff", "date-released: ", "date-released: 1", "CITATION.cff lacks the line date"),
    ],
)
def test_versions_that_differ_are_refused(tmp_path, file, old, new, complaint):
    for name in ("pyproject.toml", "snnlib/__init__.py", "CHANGELOG.md", "CITATION.cff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "dist").mkdir()

    def found():
        return "\n".join(check_release.problems(f"v{VERSION}", tmp_path / "dist", tmp_path))

    assert not re.search(complaint, found())
    text = (tmp_path / file).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new), encoding="utf-8")
    assert re.search(complaint, found())


def test_the_workflow_publishes_what_was_tested_and_checked():
    workflow = yaml.safe_load(read(".github/workflows/publish.yml"))
    jobs = workflow["jobs"]
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads "on" as true
    assert workflow["permissions"] == {"contents": "read"}
    assert jobs["test"]["uses"] == "./.github/workflows/test.yml"
    chain = [jobs[name]["needs"] for name in ("build", "index", "release")]
    assert chain == ["test", "build", "index"]
    rights = {name: job.get("permissions") for name, job in jobs.items()}
    assert rights == {
        "test": None,
        "build": None,
        "index": {"id-token": "write"},
        "release": {"contents": "write"},
    }
    commands = "\n".join(step.get("run", "") for step in jobs["build"]["steps"])
    assert "twine check --strict" in commands
    assert 'scripts/check_release.py "$GITHUB_REF_NAME" dist' in commands
    # Where something can be published, nothing of the repository is run.
    assert not [step for step in jobs["index"]["steps"] if "run" in step]


# What GitHub wants of a form, by type of element.
NEEDED = {
    "markdown": {"value"},
    "input": {"label"},
    "textarea": {"label"},
    "dropdown": {"label", "options"},
    "checkboxes": {"label", "options"},
}


def test_there_are_forms():
    assert [form.stem for form in FORMS] == ["cell", "figure"]
    config = yaml.safe_load(read(".github/ISSUE_TEMPLATE/config.yml"))
    assert config["blank_issues_enabled"] is True
    for link in config["contact_links"]:
        assert set(link) == {"name", "url", "about"}


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one_that_github_takes(form):
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    assert set(content) <= {"name", "description", "title", "labels", "assignees", "body"}
    for element in content["body"]:
        assert set(element) <= {"type", "id", "attributes", "validations"}
        given = element["attributes"]
        assert NEEDED[element["type"]] <= set(given)
        assert all(isinstance(given[key], str) and given[key] for key in given if key != "options")
        options = given.get("options", [])
        assert len(set(map(str, options))) == len(options)
        # GitHub refuses what YAML takes for a truth, and a choice of "None" is its own.
        assert all(isinstance(option, str) and option.lower() != "none" for option in options)
    asked = [element for element in content["body"] if element["type"] != "markdown"]
    names = [element["id"] for element in asked]
    assert asked
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w-]+", name) for name in names)
    labels = [element["attributes"]["label"] for element in asked]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_the_line_that_prints_versions_does(form):
    body = yaml.safe_load(form.read_text(encoding="utf-8"))["body"]
    (asked,) = [element for element in body if element.get("id") == "versions"]
    python, *arguments = shlex.split(re.search("`(.+)`", asked["attributes"]["description"])[1])
    assert python == "python"
    lines = subprocess.check_output([sys.executable, *arguments], text=True).splitlines()
    assert "Python" in lines
    assert {line.split()[0] for line in lines} >= {"snnlib", "torch", "numpy", "scikit-learn"}


def test_hooks_do_what_make_does():
    makefile = read("Makefile")
    (repo,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert repo["repo"] == "local"  # with the tools of .venv, so with their versions
    for hook in repo["hooks"]:
        assert hook["language"] == "system"
        command = hook["entry"].removesuffix(" --force-exclude")
        if command.startswith("make "):
            assert re.search(rf"^{command.removeprefix('make ')}:", makefile, re.MULTILINE)
        else:
            # There, over all files; here, over those of a commit.
            assert command.replace(".venv/bin/", "\t$(BIN)/") + " .\n" in makefile


def test_what_is_read_runs_nothing():
    """The calls that SECURITY.md speaks of."""
    security = read("SECURITY.md")
    safe = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}
    met = set()
    for file in ROOT.glob("snnlib/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                assert not names & {"pickle", "joblib", "dill", "cloudpickle", "shelve"}, file
            if not isinstance(node, ast.Call):
                continue
            function, given = ast.unparse(node.func), set(map(ast.unparse, node.keywords))
            assert function not in {"eval", "exec", "pd.read_pickle"}, file
            assert "trust_remote_code" not in {word.arg for word in node.keywords}, file
            assert "register_custom_ops_library" not in function, file
            if function in safe:
                assert safe[function] in given, file
                met.add(function)
    assert met == set(safe)
    assert all(f"`{word}`" in security for word in safe.values())


def test_the_address_to_report_to_is_that_of_the_repository():
    address = yaml.safe_load(read("_config.yml"))["repository"]["url"]
    assert f"{address}/security/advisories/new" in read("SECURITY.md")
    assert f"{address}/security/policy" in read(".github/ISSUE_TEMPLATE/config.yml")
