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


class Elsewhere:
    """Pickles as an object of a class that need not be installed here."""

    def __init__(self, name, *arguments, state=None, items=()):
        self.name, self.arguments, self.state, self.items = name, arguments, state, items

    def program(self):
        """Protocol 2, as `pickle` writes it for `copyreg.__newobj__` or a call."""
        module, _, name = self.name.rpartition(".")
        made = f"c{module}\n{name}\n".encode() + pickled(self.arguments) + b"R"
        made += b"(" + b"".join(pickled(part) for pair in self.items for part in pair) + b"u" if self.items else b""
        return made + (pickled(self.state) + b"b" if self.state is not None else b"")


def pickled(value):
    """What leaves a value on the unpickler's stack."""
    if isinstance(value, Elsewhere):
        return value.program()
    if isinstance(value, dict):
        return b"}(" + b"".join(pickled(part) for pair in value.items() for part in pair) + b"u"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(pickled, value)) + b"t"
    return pickle.dumps(value, protocol=2)[2:-1]


def lightning_checkpoint(path, **hyper_parameters):
    """What Lightning's Trainer writes beside one weight "a"."""
    weights = tensor_program(0, (8,), (1,), 8).removeprefix(b"\x80\x02").removesuffix(b".")
    settings = Elsewhere("lightning.fabric.utilities.data.AttributeDict", items=[*hyper_parameters.items()])
    schedule = {"milestones": Elsewhere("collections.Counter", {30: 1}), "last_epoch": 7}
    rest = {
        "epoch": 7,
        "pytorch-lightning_version": "2.4.0",
        "lr_schedulers": (schedule,),
        "hyper_parameters": settings,
    }
    program = b"\x80\x02}(" + pickled("state_dict") + weights + pickled(rest).removeprefix(b"}(") + b"."
    return write_zip(path, program, [("0", np.arange(8, dtype=np.float32).tobytes())])


def test_the_settings_in_a_lightning_checkpoint_are_left_out_and_its_weights_are_read(tmp_path):
    path = lightning_checkpoint(
        tmp_path / "last.ckpt",
        folder=Elsewhere("pathlib.PosixPath", "/", "data"),
        flags=Elsewhere("argparse.Namespace", state={"lr": 0.1, "root": Elsewhere("pathlib._local.PosixPath", "a")}),
    )
    read = read_torch_file(path)
    np.testing.assert_array_equal(read["state_dict"]["a"], np.arange(8))
    assert read["epoch"] == 7 and read["hyper_parameters"]["flags"] == {} == read["lr_schedulers"][0]["milestones"]


@pytest.mark.parametrize("state", [None, {"lr": 0.1}])
def test_an_object_of_its_author_s_own_in_a_lightning_checkpoint_is_refused_by_name(tmp_path, state):
    marker = tmp_path / "was_here"
    own = Elsewhere("my_project.settings.Config", 3, state=state)
    command = Elsewhere("os.system", f"touch {marker}")
    for index, (found, name) in enumerate([(own, r"my_project\.settings\.Config"), (command, r"os\.system")]):
        with pytest.raises(UnsafePickleError, match=f"asks for `{name}` and was not loaded. If you trust it, save its"):
            read_torch_file(lightning_checkpoint(tmp_path / f"{index}.ckpt", config=found))
    assert not marker.exists()


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
