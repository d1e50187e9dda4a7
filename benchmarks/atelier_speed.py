"""How fast is the Atelier set drawn, in one process?

Prints pictures per second and seconds for 2,000 pictures by size; PNG files are written to a temporary folder.

    python benchmarks/atelier_speed.py [--products 50] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from fashreg.data.atelier import draw_atelier

SIZES = (96, 160, 224)
VIEWS = 4


def measure(products: int, size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        begun, used = time.perf_counter(), time.process_time()
        draw_atelier(folder, products=products, views=VIEWS, size=size)
        seconds, busy = time.perf_counter() - begun, time.process_time() - used
        written = sum(path.stat().st_size for path in Path(folder, "images").iterdir())
    pictures = products * VIEWS
    return {
        "size": size,
        "pictures_per_second": pictures / seconds,
        "processor_ms_per_picture": 1000 * busy / pictures,
        "seconds_for_2000": 2000 * seconds / pictures,
        "kilobytes_per_picture": written / pictures / 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measure(options.products, size) for size in SIZES]
    print(f"{'size':>6}{'pictures/s':>12}{'ms of CPU':>12}{'s for 2,000':>13}{'kB each':>9}")
    for row in rows:
        print(
            f"{row['size']:>6}{row['pictures_per_second']:>12.0f}{row['processor_ms_per_picture']:>12.1f}"
            f"{row['seconds_for_2000']:>13.1f}{row['kilobytes_per_picture']:>9.1f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"one_process": True, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
