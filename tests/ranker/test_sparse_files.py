import numpy as np
import pytest
from scipy import sparse

from ranker.sparse_files import is_saved, load_matrix, save_matrix

SOME = sparse.csr_matrix([[0, 2, 3], [0, 0, 0], [1, 0, 4]], dtype=np.float32)


@pytest.mark.parametrize(
    "matrix", [SOME, SOME[:, :0], SOME[:0], SOME.astype(np.float64)], ids=["some", "no column", "no row", "double"]
)
def test_a_matrix_comes_back_as_it_was(tmp_path, matrix):
    save_matrix(matrix, tmp_path, "some")
    again = load_matrix(tmp_path, "some")
    assert (again.shape, again.dtype) == (matrix.shape, matrix.dtype)
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(again, part), getattr(matrix, part))


def is_mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


def test_a_matrix_is_mapped_and_cannot_be_changed(tmp_path):
    save_matrix(SOME, tmp_path, "some")
    again = load_matrix(tmp_path, "some")
    for part in (again.data, again.indices):
        assert is_mapped(part)
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 7


def test_a_matrix_by_column_is_written_by_row(tmp_path):
    save_matrix(SOME.tocsc(), tmp_path, "some")
    assert (load_matrix(tmp_path, "some") != SOME).nnz == 0


def test_one_that_is_not_there_is_not_saved(tmp_path):
    assert not is_saved(tmp_path, "some")
    save_matrix(SOME, tmp_path, "some")
    assert is_saved(tmp_path, "some")


def test_an_earlier_bundle_has_them_compressed(tmp_path):
    sparse.save_npz(tmp_path / "some.npz", SOME)
    assert is_saved(tmp_path, "some")
    assert (load_matrix(tmp_path, "some") != SOME).nnz == 0
