"""`python -m fashreg.data.atelier --out DIR --products N`: draws the set and says what it wrote."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fashreg.data.atelier.contact_sheet import contact_sheet
from fashreg.data.atelier.drawing import draw_atelier
from fashreg.errors import FashregError


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; 2 means that the arguments were wrong."""
    parser = argparse.ArgumentParser(prog="python -m fashreg.data.atelier", description="Draw the Atelier garment set.")
    parser.add_argument("--out", type=Path, required=True, help="folder to draw into")
    parser.add_argument("--products", type=int, default=500, help="number of products (classes)")
    parser.add_argument("--views", type=int, default=4, help="pictures per product")
    parser.add_argument("--seed", type=int, default=0, help="another set")
    parser.add_argument("--size", type=int, default=160, help="side of the pictures in pixels")
    chosen = parser.parse_args(arguments)
    begun = time.perf_counter()
    try:
        table = draw_atelier(chosen.out, chosen.products, chosen.views, chosen.seed, chosen.size)
        shown = contact_sheet(chosen.out / "contact_sheet.png", min(24, chosen.products), chosen.views, chosen.seed)
    except (FashregError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds, pictures = time.perf_counter() - begun, chosen.products * chosen.views
    print(f"{pictures:,} pictures of {chosen.products:,} products in {seconds:.1f} s")
    print(f"table: {table}\nedits: {chosen.out / 'edits.csv'}\nlook at: {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
