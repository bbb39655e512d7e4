"""Files of PyTorch are read without it; a file that asks for more than tensors is refused."""

import collections
import os
import pickle
import zipfile

import numpy as np
import pytest

from maskformer_model.pretrained.readers.pickle_instructions import UnsafePickleError
from maskformer_model.pretrained.readers.torch_files import read_torch_file


class RunsACommand:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def write_zip(path, pickled, storages=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in storages:
            archive.writestr(f"archive/data/{key}", data)
    return str(path)


def tensor_program(offset, shape, strides, num_values):
    """A pickle of {"a": tensor}, which asks PyTorch to rebuild it from storage "0"."""

    def integers(values):
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    storage = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI%d\ntQ" % num_values
    arguments = (
        storage + b"I%d\n" % offset + integers(shape) + integers(strides) + b"I00\nccollections\nOrderedDict\n)R"
    )
    return b"\x80\x02}S'a'\nctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tRs."


def test_a_strided_tensor_is_copied_out_of_its_storage(tmp_path):
    data = np.arange(8, dtype=np.float32).tobytes()
    path = write_zip(tmp_path / "a.pth", tensor_program(1, (2, 3), (1, 2), 8), [("0", data)])
    np.testing.assert_array_equal(read_torch_file(path)["a"], [[1, 3, 5], [2, 4, 6]])


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (9,), (1,)), (7, (2,), (1,)), (0, (2, 2), (1, 8)), (-1, (2,), (1,)), (0, (2, 8), (0, 1))],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path, offset, shape, strides):
    path = write_zip(tmp_path / "a.pth", tensor_program(offset, shape, strides, 8), [("0", bytes(32))])
    with pytest.raises(ValueError, match="must lie inside its storage of 8 values"):
        read_torch_file(path)


def test_a_storage_larger_than_the_file_is_refused_before_memory_is_taken(tmp_path):
    path = write_zip(tmp_path / "a.pth", tensor_program(0, (1,), (1,), 10**15), [("0", bytes(32))])
    with pytest.raises(ValueError, match="does not fit into the file"):
        read_torch_file(path)


def test_a_command_in_a_zip_or_in_a_legacy_file_is_refused_and_not_run(tmp_path):
    marker = tmp_path / "was_here"
    evil = pickle.dumps({"model": RunsACommand(marker)}, protocol=2)
    legacy = tmp_path / "legacy.pth"
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    legacy.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in head) + evil)
    for path in (write_zip(tmp_path / "zip.pth", evil), str(legacy)):
        with pytest.raises(UnsafePickleError, match=r"posix\.system"):
            read_torch_file(path)
    assert not marker.exists()


def test_a_file_that_is_cut_off_or_no_pytorch_file_is_refused(tmp_path):
    for index, content in enumerate((b"", b"PNG", pickle.dumps(5), pickle.dumps(5) * 3)):
        path = tmp_path / f"{index}.pth"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="PyTorch file"):
            read_torch_file(str(path))


@pytest.mark.parametrize("is_zip", [True, False])
def test_files_that_pytorch_itself_wrote_come_back_equal(tmp_path, is_zip):
    torch = pytest.importorskip("torch", reason="the extra `parity` brings torch")
    base = torch.arange(24.0).reshape(2, 3, 4)
    state = collections.OrderedDict(
        base=base,
        view_of_it=base.permute(2, 0, 1)[1:],
        parameter=torch.nn.Parameter(torch.ones(3)),
        half=torch.arange(3).half(),
        brain=torch.tensor([1.0, -2.5, 3e38]).bfloat16(),
        counter=torch.tensor(5),
        flags=torch.tensor([True, False]),
    )
    path = tmp_path / "state.pth"
    torch.save({"model": state, "iteration": 7}, path, _use_new_zipfile_serialization=is_zip)
    read = read_torch_file(str(path))
    assert read["iteration"] == 7
    for name, tensor in state.items():
        expected = tensor.detach().float() if name == "brain" else tensor.detach()
        np.testing.assert_array_equal(read["model"][name], expected.numpy())
