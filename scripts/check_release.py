"""Check what a tag is about to publish, and print what the changelog says of it.

    python scripts/check_release.py <tag> <folder of the built files>

It needs nothing but Python. What is wrong goes to the error output, all of it at once.
"""

import re
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADING = re.compile(r"^## \[(?P<version>[^]]+)\](?: - (?P<date>\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def project_version(root=ROOT):
    """The version in pyproject.toml."""
    return tomllib.loads(_read(root, "pyproject.toml"))["project"]["version"]


def _read(root, name):
    return (root / name).read_text(encoding="utf-8")


def entries(changelog):
    """Date, or None, and text of each version in the changelog."""
    headings = list(HEADING.finditer(changelog))
    ends = [heading.start() for heading in headings[1:]] + [len(changelog)]
    return {
        heading["version"]: (heading["date"], changelog[heading.end() : end].strip())
        for heading, end in zip(headings, ends)
    }


def _names(file):
    """Files in a wheel or a source distribution, without the one folder of the latter."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            return set(archive.namelist())
    with tarfile.open(file) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def problems(tag, folder, root=ROOT):
    """What speaks against publishing, in words."""
    version = project_version(root)
    if tag != f"v{version}":
        yield f"the tag is {tag}, but pyproject.toml says version {version}"
    own = re.search(r'^__version__ = "(.*)"$', _read(root, "snnlib/__init__.py"), re.M)
    if own[1] != version:
        yield f"snnlib says version {own[1]}, but pyproject.toml {version}"
    date, text = entries(_read(root, "CHANGELOG.md")).get(version, (None, None))
    if not date or not text:
        yield f"CHANGELOG.md has no entry '## [{version}] - <date>' with a text"
    citation = _read(root, "CITATION.cff")
    for line in (f"version: {version}", f'date-released: "{date}"'):
        if not re.search(rf"^{re.escape(line)}$", citation, re.M):
            yield f"CITATION.cff lacks the line {line}"
    tables = {file.name for file in (root / "benchmarks/results").glob("*.json")}
    wanted = {
        f"snnlib-{version}-py3-none-any.whl": {
            "snnlib/py.typed",
            "snnlib/station/report.html.jinja",
            *(f"snnlib/benchmark_results/{table}" for table in tables),
        },
        f"snnlib-{version}.tar.gz": {
            "snnlib/py.typed",
            "snnlib/station/report.html.jinja",
            "pyproject.toml",
            "LICENSE",
            *(f"benchmarks/results/{table}" for table in tables),
        },
    }
    built = {file.name for file in Path(folder).iterdir()}
    if built != set(wanted):
        yield f"expected {sorted(wanted)} in {folder}, got {sorted(built)}"
    for name in sorted(built & set(wanted)):
        if missing := wanted[name] - _names(Path(folder) / name):
            yield f"{name} lacks {sorted(missing)}"


def main(tag, folder, root=ROOT):
    if found := list(problems(tag, folder, root)):
        sys.exit("\n".join(found))
    print(entries(_read(root, "CHANGELOG.md"))[project_version(root)][1])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("expected a tag and a folder")
    main(*sys.argv[1:])
