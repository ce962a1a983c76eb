"""Rewrite the address of the repository wherever it stands.

    python scripts/set_repository.py https://github.com/<owner>/<name>

The address in _config.yml is the one that counts; every file that repeats it follows.
"""

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]*\w")


def address():
    """The address in _config.yml."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return config["repository"]["url"]


def files():
    """Every file that may repeat the address."""
    chapters = sorted((ROOT / "chapters").glob("*.md"))
    named = ["_config.yml", "pyproject.toml", "CITATION.cff"]
    named += ["README.md", "CONTRIBUTING.md", "SECURITY.md", "intro.md"]
    named += [".github/ISSUE_TEMPLATE/config.yml"]
    return [ROOT / name for name in named] + chapters


def main(url):
    if not ADDRESS.fullmatch(url):
        sys.exit(f"expected URL=https://github.com/<owner>/<name>, got {url!r}")
    old = address()
    for file in files():
        text = file.read_text(encoding="utf-8")
        if old in text:
            file.write_text(text.replace(old, url), encoding="utf-8")
            print(f"{file.relative_to(ROOT)}: {old} is now {url}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else "")
