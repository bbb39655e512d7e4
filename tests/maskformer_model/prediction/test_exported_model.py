"""The Python class over an exported model; `test_predict` asks it for more."""

import numpy as np
import pytest

from maskformer_model.data.photo_files import PhotoError
from maskformer_model.prediction.exported_model import ExportedMaskFormer
from tests.maskformer_model.helpers.small_export import CATEGORIES, encoded, photo


def test_a_segment_s_row_says_what_the_map_shows(exported):
    model = ExportedMaskFormer.from_directory(exported[0].parent)
    assert model.model_dir == str(exported[0])
    result = model.predict(photo(50, 80))
    assert len(result.segments) > 1
    for segment in result.segments:
        is_here = result.segment_ids == segment.id
        assert segment.area_px == is_here.sum()
        rows, columns = np.nonzero(is_here)
        assert segment.box_px == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        assert segment.name == CATEGORIES.names[segment.class_index]
    with pytest.raises(PhotoError, match="cut off or damaged"):
        model.predict(encoded(photo(40, 60))[:-300])
