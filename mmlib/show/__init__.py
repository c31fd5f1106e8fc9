"""What a notebook shows: figures, tables and the source code that its text explains."""

from mmlib.show.bars import worth
from mmlib.show.cells import check, source, table
from mmlib.show.curves import agreement, agreement_points, critical_difference, degradation, losses
from mmlib.show.maps import (
    embedding_points,
    embeddings,
    generation_points,
    generations,
    representation_points,
    representations,
)
from mmlib.show.patterns import missingness
from mmlib.show.theme import save, save_points
