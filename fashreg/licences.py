"""Licences by the names people write (SPDX identifiers) and by those the Hugging Face Hub knows. No torch."""

from __future__ import annotations

import re

#: identifiers that the Hub takes in a model card; anything else is `license: other` with a `license_name`
HUB_LICENCES = frozenset(
    """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m bsd
    bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0
    gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 lppl-1.3c mit mpl-2.0 ms-pl
    ncsa odbl odc-by ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql unknown unlicense wtfpl zlib
    """.split()  # noqa: SIM905
)
#: SPDX writes these otherwise than the Hub does
_SPDX = {"odbl-1.0": "odbl", "odc-by-1.0": "odc-by", "pddl-1.0": "pddl", "c-uda-1.0": "c-uda"}
_WRITTEN = re.compile(r"[A-Za-z0-9(][A-Za-z0-9.+() -]*")
_MOST = 100


def checked_licence(text: str) -> str:
    """`text` if it can be the name of a licence: `Apache-2.0`, `MIT OR Apache-2.0`, `LicenseRef-Shop`.

    ValueError otherwise: a name has letters, digits and . + - only, and no licence text.
    """
    if len(text) > _MOST or not _WRITTEN.fullmatch(text) or text != text.strip():
        raise ValueError(
            f"{text[:_MOST]!r} is no name of a licence; write its SPDX identifier (Apache-2.0, CC-BY-NC-4.0), or "
            "LicenseRef-NAME for one of your own"
        )
    return text


def hub_licence(text: str) -> tuple[str, str | None]:
    """The Hub's identifier of a licence, and where that is `other`, the name to give it."""
    plain = text.lower()
    for ending in ("-only", "-or-later", "+"):  # GPL-3.0-or-later; the Hub has one identifier a version
        if plain.removesuffix(ending) in HUB_LICENCES and plain not in HUB_LICENCES:
            plain = plain.removesuffix(ending)
    found = _SPDX.get(plain, plain)
    if found in HUB_LICENCES:
        return found, None
    return "other", re.sub(r"[^a-z0-9.+-]+", "-", plain).strip("-")
