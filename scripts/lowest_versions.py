"""Print the lowest version of each dependency that pyproject.toml allows, as pip constraints.

    python scripts/lowest_versions.py book test > lowest.txt
    pip install --constraint lowest.txt '.[book,test]'

Names extras; what the library itself needs is always among them.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
REQUIREMENT = re.compile(
    r"(?P<name>[\w-]+)(\[(?P<extras>[\w,-]+)\])?(>=(?P<lowest>[\w.]+)(,<[\w.]+)?)?"
)


def lowest(project: dict, extras: list[str]) -> Iterator[str]:
    """Lines ``name==version`` for a project and some of its extras, and those that they name."""
    optional = project["optional-dependencies"]
    unknown = set(extras) - set(optional)
    if unknown:
        raise SystemExit(f"expected extras among {', '.join(optional)}; got {', '.join(unknown)}")
    for wanted in (project["dependencies"], *(optional[extra] for extra in extras)):
        for line in wanted:
            found = REQUIREMENT.fullmatch(line)
            if found and found["name"] == project["name"] and found["extras"]:
                yield from lowest(project, found["extras"].split(","))
            elif found and found["lowest"]:
                yield f"{found['name']}=={found['lowest']}"
            else:
                raise SystemExit(f"expected 'name>=version' in {PYPROJECT.name}, got {line!r}")


if __name__ == "__main__":
    described = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    print("\n".join(sorted(set(lowest(described, sys.argv[1:])))))
