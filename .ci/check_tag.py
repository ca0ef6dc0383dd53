"""Whether a tag may be released: it is the version's, the changelog has dated it, the links are filled in.

Building and checking the files is `make dist`. Usage: python .ci/check_tag.py v0.1.0
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """What is missing, in words; nothing if the release may go out."""
    source = (root / "minidl" / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+?)"', source, re.M)[0]
    found = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, but minidl.__version__ is {version}: want v{version}")
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## (.+)$", changes, re.M)[0]
    if not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", newest):
        found.append(f"CHANGELOG.md begins with '{newest}': want '{version} (YYYY-MM-DD)'")
    if f"version: {version}\n" not in (root / "CITATION.cff").read_text(encoding="utf-8"):
        found.append(f"CITATION.cff: want 'version: {version}'")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if not project.get("urls"):
        found.append("pyproject.toml has no [project.urls]: fill in the repository's address")
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python .ci/check_tag.py v0.1.0")
    missing = problems(sys.argv[1])
    print("\n".join(missing) or f"{sys.argv[1]} may be released")
    sys.exit(len(missing) > 0)
