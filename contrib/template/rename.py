"""Make this copy of the template your own: `python rename.py NAME`, once, in the copied folder.

fashreg-template becomes fashreg-NAME, the package fashreg_template becomes fashreg_NAME, and the component "gem" is
offered as NAME. Nothing else changes; this file removes itself at the end.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def renamed(text: str, name: str) -> str:
    """The text of one file with the new names in it."""
    text = text.replace("fashreg-template:gem", f"fashreg-{name}:{name}")
    text = text.replace("fashreg-template", f"fashreg-{name}")
    text = text.replace("fashreg_template", f"fashreg_{name.replace('-', '_')}")
    text = text.replace('"gem"', f'"{name}"')
    return re.sub(r"^gem = ", f"{name} = ", text, flags=re.M)


def main() -> None:
    """Rename everything in this folder."""
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or name == "template":
        raise SystemExit("usage: python rename.py NAME, a name of your own in lower case, e.g. soft-pool")
    if (HERE.parent / "fashreg-lite0").is_dir():
        raise SystemExit("this is the template itself: copy the folder to a place of your own first")
    for path in [HERE / "pyproject.toml", HERE / "README.md", *HERE.glob("src/*/*.py"), *HERE.glob("tests/*.py")]:
        path.write_text(renamed(path.read_text("utf-8"), name), encoding="utf-8")
    (HERE / "src" / "fashreg_template").rename(HERE / "src" / f"fashreg_{name.replace('-', '_')}")
    Path(__file__).unlink()
    print(f"this is fashreg-{name} now; next: pip install -e . && fashreg list head")


if __name__ == "__main__":
    main()
