import pytest

from input_pipeline.alignment.manifest_columns import set_columns
from input_pipeline.errors import UserError

VALUES = {"n2": {"sync_offset_s": "1.5", "sync_drift_ppm": "-3.0"}}


def test_only_the_cells_asked_for_change(tmp_path):
    source = tmp_path / "nights.csv"
    source.write_text(
        '\ufeffnight_id,sync_drift_ppm,psg,subject_id\n n1 ,7,"a, b.edf",s1\n\nn2,,c.edf,s2\n'
    )
    before = source.read_bytes()
    set_columns(source, tmp_path / "new.csv", VALUES)
    assert source.read_bytes() == before
    assert (tmp_path / "new.csv").read_text().splitlines() == [
        "night_id,sync_drift_ppm,psg,subject_id,sync_offset_s",
        ' n1 ,7,"a, b.edf",s1,',
        "n2,-3.0,c.edf,s2,1.5",
    ]
    set_columns(source, source, VALUES)
    assert source.read_text() == (tmp_path / "new.csv").read_text()


def test_empty_last_columns_of_a_spreadsheet(tmp_path):
    path = tmp_path / "nights.csv"
    path.write_text("night_id,psg,,\nn1,a.edf,,\nn2,b.edf\n")
    set_columns(path, path, VALUES)
    head = "night_id,psg,sync_offset_s,sync_drift_ppm"
    assert path.read_text().splitlines() == [head, "n1,a.edf,,", "n2,b.edf,1.5,-3.0"]


def test_a_manifest_that_is_gone_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        set_columns(tmp_path / "gone.csv", tmp_path / "new.csv", VALUES)
