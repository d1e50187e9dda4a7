"""The question whose right answers come by degree: pictures that share attribute values with the one that asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fashreg.data.table import Table
from fashreg.errors import DataError
from fashreg.functional.relevance import counts
from fashreg.jobs.evaluation_question import Codes, Question, question_of
from fashreg.jobs.evaluation_slices import codes_by_id


def overlap_question(vectors: Tensor, table: Table, sources: Codes | None, evaluator: Any) -> Question:
    """Everybody asks, whatever the label, and the evaluator grades. vectors: (N, D), one for each row of the table."""
    if not table.attributes:
        raise DataError("attribute-overlap needs attribute columns: --set data.attributes=[COLUMN, ...]")
    question = question_of(vectors, table, np.zeros(len(table), dtype=np.int64), sources)
    ids = torch.from_numpy(table.ids)
    values = torch.stack([torch.from_numpy(attribute.codes) for attribute in table.attributes.values()], 1)
    queries, gallery = question.queries, question.gallery
    relevance = evaluator.relevance_from_attributes(
        codes_by_id(ids, values, queries.ids),
        queries.ids,
        codes_by_id(ids, values, gallery.ids),
        gallery.ids,
        query_sources=queries.sources,
        gallery_sources=gallery.sources,
    )
    alone = int((counts(relevance) == 0).sum())
    if alone == len(relevance):
        raise DataError(f"{table.source}: no two pictures share an attribute value, so there is nothing to find")
    return replace(question, relevance=relevance, alone=alone)
