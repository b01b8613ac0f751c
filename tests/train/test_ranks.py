"""Data-parallel training: processes that share each batch train as one does, and end together."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn import nn, optim
from tinygrad_rnn.train import Ranks, Trainer, sums
from tinygrad_rnn.train.shares import bounds

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
CASES = ["pairs", "pairs metrics", "stream", "pairs program", "stream program", "pairs program accumulate"]


@pytest.fixture(autouse=True)
def _mpi():
    pytest.importorskip("mpi4py")
    if MPIEXEC is None:
        pytest.skip("there is no mpiexec")


def mpi(size, folder, *cases):
    """What processes print that train one case after the other."""
    command = [MPIEXEC, "-n", str(size), sys.executable, "-m", "tests.train.shared_training", str(folder), *cases]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)


def results(folder, case, size, rank=0):
    with np.load(folder / f"{case.replace(' ', '-')}-{size}-{rank}.npz") as file:
        return {name: file[name] for name in file.files}


def same(one, other):
    assert one.keys() == other.keys()
    return all(np.array_equal(one[name], other[name]) for name in one)


def close(one, other):
    assert one.keys() == other.keys()
    return all(np.allclose(one[name], other[name], rtol=1e-12, atol=1e-13) for name in one)


@pytest.mark.slow
def test_several_processes_train_as_one(tmp_path):
    for size in (1, 2, 3):  # 23 rows in batches of 5, 6 streams: parts that are uneven, or empty
        ran = mpi(size, tmp_path, *CASES)
        assert ran.returncode == 0, ran.stderr
    for case in CASES:
        alone = results(tmp_path, case, 1)
        for size in (2, 3):
            mine = [results(tmp_path, case, size, rank) for rank in range(size)]
            assert all(close(alone, one) for one in mine), case
            assert all(same(mine[0], one) for one in mine), case


@pytest.mark.slow
def test_a_training_goes_on_with_the_same_number_of_processes_to_the_bit_and_with_any_other(tmp_path):
    for case in ("pairs dropout", "stream"):
        assert mpi(2, tmp_path, case, f"{case} half", f"{case} resume").returncode == 0
        assert same(results(tmp_path, case, 2), results(tmp_path, f"{case} resume", 2))
    assert mpi(1, tmp_path, "stream").returncode == 0
    assert mpi(2, tmp_path, "stream half").returncode == 0
    for size in (1, 3):
        assert mpi(size, tmp_path, "stream resume").returncode == 0
        assert close(results(tmp_path, "stream", 1), results(tmp_path, "stream resume", size))


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_sums_are_taken_in_the_order_of_the_ranks_by_messages_and_in_shared_memory(size, tmp_path):
    ran = mpi(size, tmp_path, "sums")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("the same") == size


def test_sums_go_by_messages_where_memory_to_share_is_short(monkeypatch):
    monkeypatch.setattr(sums, "_free", lambda: 10_000)
    own = sums.Sums(Ranks().world, one_machine=True)
    for count, shared in ((100, True), (10_000, False), (10, False)):
        mine = own.room(count, np.dtype(np.float64))
        mine[:] = np.arange(count)
        np.testing.assert_array_equal(own.total(mine), np.arange(count))
        assert own.one_machine == shared


@pytest.mark.slow
def test_errors_are_told_by_all(tmp_path):
    ran = mpi(2, tmp_path, "pairs other data", "pairs nan", "pairs nan skip")
    assert ran.returncode == 0, ran.stderr
    for rank in (0, 1):
        assert f"process {rank}: DataError: train: got other batches in process 1 than in process 0" in ran.stdout
        assert f"process {rank}: NonFinite" in ran.stdout
    assert same(results(tmp_path, "pairs nan skip", 2, 0), results(tmp_path, "pairs nan skip", 2, 1))


@pytest.mark.slow
def test_what_differs_between_processes_is_told_before_the_first_update(tmp_path):
    what = {"limits": "limits", "clipping": "settings", "rate": "settings"}
    ran = mpi(2, tmp_path, *[f"pairs other {name}" for name in what])
    assert ran.returncode == 0, ran.stderr
    for name in what.values():
        assert ran.stdout.count(f"DataError: train: got other {name} in process 1 than in process 0") >= 2
    assert ran.stdout.count("DataError") == 6


@pytest.mark.slow
def test_validation_and_reasons_to_stop_are_those_of_all(tmp_path):
    """Also of fewer streams than processes, of batches of their own, and a reason that only one of them has."""
    cases = ["stream few", "pairs own validation plateau", "pairs stops"]
    assert mpi(1, tmp_path, "stream few").returncode == 0
    ran = mpi(2, tmp_path, *cases)
    assert ran.returncode == 0, ran.stderr
    for case in cases:
        assert same(results(tmp_path, case, 2, 0), results(tmp_path, case, 2, 1)), case
    assert close(results(tmp_path, "stream few", 1), results(tmp_path, "stream few", 2))
    assert "loss" not in results(tmp_path, "pairs stops", 2)  # it ended within an epoch


@pytest.mark.slow
@pytest.mark.parametrize(("case", "error"), [("raises", "ZeroDiv"), ("exits", "SystemExit"), ("outside", "ZeroDiv")])
def test_an_error_of_one_process_ends_all(case, error, tmp_path):
    ran = mpi(2, tmp_path, f"pairs {case}")
    assert ran.returncode != 0
    assert "process 1 of 2 ends the training of all" in ran.stderr
    assert error in ran.stderr


@pytest.mark.slow
def test_a_killed_process_ends_all_and_leaves_a_whole_checkpoint(tmp_path):
    assert mpi(2, tmp_path, "pairs killed").returncode != 0
    assert mpi(1, tmp_path, "pairs resume", "pairs").returncode == 0
    assert close(results(tmp_path, "pairs", 1), results(tmp_path, "pairs resume", 1))


def test_one_process_by_itself():
    model = nn.Linear(2, 1)
    ranks = Ranks()
    assert (ranks.rank, ranks.size) == (0, 1)
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, ranks=ranks)
    with pytest.raises(Exception, match="wanted a DataLoader or a TruncatedBPTT"):
        trainer.fit([(np.ones((3, 2)), np.ones((3, 1)))])


def test_wrong_arguments():
    model = nn.Linear(2, 1)
    with pytest.raises(TypeError, match=r"ranks: got int, wanted Ranks\(\) or None"):
        Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.mse_loss, ranks=2)
    with pytest.raises(TypeError, match="communicator: got int"):
        Ranks(2)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 64])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_parts_are_all_rows_in_order(count, size):
    ends = [bounds(count, rank, size) for rank in range(size)]
    assert ends[0][0] == 0 and ends[-1][1] == count
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ends))
    assert max(b - a for a, b in ends) - min(b - a for a, b in ends) <= 1
