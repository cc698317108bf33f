"""Several processes train as one does: the same weights, the same scores, and one of them speaks."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_process import JOBS, net_of, normalised, numbers, pooled, run
from run_folders import fingerprint, rows_of
from torch.nn import functional as F

from seglab import cli, distributed, history, norms, training
from seglab.checkpoint import load_state
from seglab.inference import Predictor
from seglab.models import list_models
from seglab.runs import require_same

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TRAIN = [
    "train", "unet", "dice", "loss.reduce=batch", "--dataset", "synthetic", "data.count=[5,3,2]", "data.size=32",
    "size=32", "model.width=4", "batch_size=4", "schedule=constant", "device=cpu", "sync_bn=true", "workers=0",
]  # fmt: skip


def launch(*words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine, one thread each."""
    paths = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    surroundings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    pipe = subprocess.PIPE
    with subprocess.Popen([*TORCHRUN, *words], stdout=pipe, stderr=pipe, text=True, env=surroundings) as started:
        try:
            out, err = started.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            started.terminate()  # torchrun ends its processes, which a kill would leave
            raise
    return subprocess.CompletedProcess(words, started.returncode, out, err)


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What seglab itself printed as errors and warnings; torchrun adds its own report to an error."""
    return [line for line in done.stderr.splitlines() if line.startswith("seglab: ")]


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "log_tensorboard", lambda out, record: None)
        patch.setattr(history, "_curves", lambda records, freeze_epochs: b"")
        yield


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """Folder of what two processes left: a run for each job, and each one's numbers."""
    folder = tmp_path_factory.mktemp("two")
    done = launch(str(HERE / "distributed_process.py"), str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


@pytest.fixture(scope="module")
def ranks(two) -> list[dict[str, dict[str, torch.Tensor]]]:
    return [torch.load(two / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """Folder with the same runs of one process."""
    folder = tmp_path_factory.mktemp("one")
    for job in JOBS:
        run(job, folder / job)
    return folder


def distance(first: Path, second: Path, part: str) -> float:
    """Largest difference of any weight or statistic of two runs."""
    states = [load_state(folder / "last.pt")[part] for folder in (first, second)]
    assert states[0].keys() == states[1].keys()
    return max(float((a.double() - b.double()).abs().max()) for a, b in zip(*map(dict.values, states), strict=True))


# --- two processes are one


@pytest.mark.parametrize("job", ["sync", "group", "one"])
def test_two_processes_end_with_the_weights_of_one_process_with_the_same_batch(job, one, two):
    moved = load_state(one / job / "last.pt")["model"]["net.heads.0.weight"] - net_of(job).net.heads[0].weight
    assert float(moved.detach().abs().max()) > 1e-3
    assert distance(one / job, two / job, "model") < 2e-5  # float32: the sums have another order


def test_average_of_two_processes_is_that_of_one(one, two):
    assert distance(one / "sync", two / "sync", "average") < 2e-5


@pytest.mark.parametrize("job", ["sync", "group", "one"])
def test_two_processes_write_the_history_of_one(job, one, two):
    rows = [rows_of(folder / job) for folder in (one, two)]
    assert len(rows[0]) == len(rows[1]) == JOBS[job]["epochs"]
    for alone, together in zip(*rows, strict=True):
        assert together == pytest.approx(alone, abs=2e-6)
        for name in ("val_dice_fg_image", "val_iou_fg_pooled", "val_miou_2class_pooled"):
            assert together[name] == alone[name], name  # ratios of counts: all or nothing


def test_without_sync_bn_each_process_normalises_its_own_part(one, two):
    assert distance(one / "own", two / "own", "model") > 1e-3


def test_later_looks_and_a_saving_thread_change_no_bit_of_two_processes(two):
    assert fingerprint(two / "later") == fingerprint(two / "not compiled")


def test_compiled_parts_of_two_processes_learn_the_same(two):
    assert distance(two / "compiled", two / "not compiled", "model") < 2e-5
    assert distance(two / "compiled", two / "not compiled", "average") < 2e-5


def test_checkpoint_of_two_processes_holds_plain_batch_norm(one, two):
    names = [load_state(folder / "sync" / "last.pt")["model"].keys() for folder in (one, two)]
    assert names[0] == names[1]
    net_of("sync").load_state_dict(load_state(two / "sync" / "last.pt")["model"])


def test_processes_are_recorded(one, two):
    counts = [json.loads((folder / "sync" / "run.json").read_text())["processes"] for folder in (one, two)]
    assert counts == [1, 2]


# --- stopping and going on


def test_two_processes_stopped_and_resumed_end_with_the_bits_of_those_that_were_not(two):
    """Each normalises its own part and draws its own dropout, which the resume must find again."""
    assert fingerprint(two / "stopped") == fingerprint(two / "own")


def test_run_of_two_processes_goes_on_in_one_with_sync_bn(two, tmp_path):
    out = shutil.copytree(two / "sync", tmp_path / "run")
    with pytest.warns(UserWarning, match=r"processes were 2 in the run .* and are 1 now: .*not be equal bit for bit"):
        run("sync", out)
    assert fingerprint(out) == fingerprint(two / "sync")


def test_run_of_two_processes_stays_with_two_if_batch_norm_saw_parts(two, tmp_path):
    out = shutil.copytree(two / "own", tmp_path / "run")
    with pytest.raises(
        ValueError,
        match=r"processes must be 2 as in the run .*; got 1\. Batch norm sees each one's part .*sync_bn=true",
    ):
        run("own", out)


def test_run_of_one_process_may_turn_sync_bn_on_for_two(one):
    facts = load_state(one / "own" / "last.pt")["facts"]
    now = facts | {"processes": 2, "config": facts["config"] | {"sync_bn": True}}
    with pytest.warns(UserWarning, match="processes were 1 in the run"):
        require_same(facts, now, one)
    with pytest.raises(ValueError, match="sync_bn must be True as in the run"):
        require_same(now, facts | {"processes": 2}, one)


def test_run_from_before_there_were_several_processes_goes_on(one):
    facts = load_state(one / "own" / "last.pt")["facts"]
    old = {name: value for name, value in facts.items() if name not in ("processes", "batch_norm")}
    old["config"] = {name: value for name, value in facts["config"].items() if name != "sync_bn"}
    require_same(old, facts, one)
    with pytest.raises(ValueError, match="processes must be 1 as in the run"):
        require_same(old, facts | {"processes": 2}, one)


@pytest.mark.long
def test_gradients_of_two_processes_are_those_of_one_for_every_model(tmp_path):
    done = launch(str(HERE / "distributed_process.py"), str(tmp_path), "gradients")
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert sorted(found) == list_models()
        for name, (error, scale) in found.items():
            assert error < 1e-7 * scale, name  # float64; a layer norm of nearly equal values is the worst


# --- the parts


@pytest.mark.parametrize("count", [5, 1])
def test_norms_together_equal_the_norm_of_the_whole_batch(count, ranks):
    given = numbers()
    x = given["x"][:count].clone().requires_grad_()
    weight, bias = (given[name].clone().requires_grad_() for name in ("weight", "bias"))
    mean, var = torch.zeros(3), torch.ones(3)
    y = F.batch_norm(x, mean, var, weight, bias, True, 0.3)
    (y * given["slope"][:count]).sum().backward()
    parts = [rank[f"norm {count}"] for rank in ranks]
    close = {"rtol": 1e-4, "atol": 2e-5}
    torch.testing.assert_close(torch.cat([part["y"] for part in parts]), y.detach(), **close)
    torch.testing.assert_close(torch.cat([part["dx"] for part in parts])[:count], x.grad, **close)
    for name, truth in (("dw", weight.grad), ("db", bias.grad)):
        torch.testing.assert_close(sum(part[name] for part in parts), truth, **close)  # each has its own rows' share
    for part in parts:
        torch.testing.assert_close(part["running_mean"], mean)
        torch.testing.assert_close(part["running_var"], var)
        assert int(part["num_batches_tracked"]) == 1


def test_copy_that_fills_an_empty_part_has_no_gradient(ranks):
    assert all(not ranks[1]["norm 1"][name].any() for name in ("dx", "dw", "db"))


def test_norms_alone_are_those_of_the_own_part(ranks):
    x = numbers()["x"]
    for rank, rows in enumerate((slice(0, 3), slice(3, 5))):
        mean = 0.3 * x[rows].mean((0, 2, 3))
        torch.testing.assert_close(ranks[rank]["alone"]["running_mean"], mean)


@pytest.mark.parametrize("count", [5, 1])
def test_pooled_rows_are_the_batch_in_order_and_their_gradient_is_the_own_part_of_it(count, ranks):
    x = numbers()["x"][:count].to(torch.bfloat16).requires_grad_()
    (x.float().sum().square() / x.float().square().sum()).backward()
    parts = [rank[f"pooled {count}"] for rank in ranks]
    assert all(torch.equal(part["whole"], x.detach()) for part in parts)
    assert torch.equal(torch.cat([part["grad"] for part in parts])[:count], x.grad)
    assert not torch.cat([part["grad"] for part in parts])[count:].any()


def test_one_process_computes_the_same_without_the_others():
    found = normalised(5)
    torch.testing.assert_close(found["running_mean"], 0.3 * numbers()["x"].mean((0, 2, 3)))
    assert len(pooled(5)["whole"]) == 5
    assert (distributed.world(), distributed.rank(), distributed.shares(5)) == (1, 0, [5])


def test_processes_with_other_facts_are_refused_in_each(ranks):
    text = "model, loss, settings and pictures must be the same in every process; got others in process 1 than in 0."
    assert [rank["refused"] for rank in ranks] == [text.replace("in 0.", "in process 0.")] * 2


def test_state_of_the_first_process_reaches_all(ranks):
    for rank in ranks:
        assert rank["first"] == {"rank": torch.tensor(0), "text": "of 0"}


# --- what cannot be shared


@pytest.fixture
def torchrun(monkeypatch):
    """The surroundings of process 1 of two."""
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_batch_with_fewer_pictures_than_processes_is_refused(torchrun):
    with pytest.raises(ValueError, match=r"batch_size must be at least the number of processes, 2; got 1\. It is"):
        distributed.require_shares(1)
    distributed.require_shares(2)


def test_shares_of_a_batch_differ_by_one_at_most(torchrun):
    assert (distributed.shares(5), distributed.shares(4), distributed.shares(1)) == ([3, 2], [2, 2], [1, 0])
    assert distributed.mine((7, 8, 9, 5, 6)) == (5, 6)
    assert distributed.mine((7,)) == (7,)


def test_several_processes_need_a_device_each(torchrun):
    with pytest.raises(ValueError, match=r"device must be auto, cpu or cuda for 2 processes; got 'cuda:0'"):
        distributed._own_device("cuda:0")
    torchrun.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        ValueError, match=r"each process must have a GPU of its own; got 1 for process 1, counted from 0"
    ):
        distributed._own_device("cuda")
    assert distributed._own_device("cpu").type == "cpu"


def test_norm_of_a_single_value_is_refused():
    with pytest.raises(ValueError, match=r"batch norm must see two values per channel or more to train; got 1\. Add"):
        norms._moments(torch.ones(1, 3, 1, 1), counts=True)


def test_part_of_one_picture_that_batch_norm_cannot_train_on_is_refused_with_the_remedy(torchrun):
    with (
        pytest.raises(
            ValueError, match=r"each process must have two pictures or more .*; got 1\. Train with sync_bn=true"
        ),
        norms.together(False, 3),
    ):
        torch.nn.BatchNorm2d(3)(torch.ones(1, 3, 1, 1))
    with pytest.raises(ValueError, match="another"), norms.together(False, 3):
        raise ValueError("another")


def test_lost_connection_is_told_from_other_errors():
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:19642.")
    assert distributed._is_lost_connection(lost)
    assert not distributed._is_lost_connection(ValueError("Connection closed by peer"))
    assert not distributed._is_lost_connection(RuntimeError("shapes differ"))


# --- on the command line


def test_command_trains_in_two_processes_and_prints_once(tmp_path):
    out = tmp_path / "run"
    done = launch("-m", "seglab", *TRAIN, "--out", str(out), "epochs=2")
    assert done.returncode == 0, done.stderr
    assert said(done) == []
    assert "find_unused_parameters" not in done.stderr  # what PyTorch says where every parameter is used
    lines = done.stdout.splitlines()
    assert [line.split(" lr")[0] for line in lines[:-1]] == ["epoch 1", "epoch 2"]
    assert "best.safetensors: validation dice_fg_image" in lines[-1]
    with (out / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    assert Predictor.load(out).size == 32
    assert {"report.json", "record.json", "tensorboard", "curves.png"} < {path.name for path in out.iterdir()}


def test_process_that_fails_ends_all_with_one_line_and_the_run_goes_on_later(tmp_path):
    out = tmp_path / "run"
    words = [*TRAIN, "--out", str(out)]
    done = launch(str(HERE / "distributed_process.py"), str(tmp_path), *words, "epochs=3")
    assert done.returncode != 0
    assert said(done) == ["seglab: picture p3 must be whole; got half of it."]
    for rank in (0, 1):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / f"{rank}.pid").read_text()), 0)
    assert load_state(out / "last.pt")["epoch"] == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signal.signal", lambda *_: None)
        assert cli.main([*words, "epochs=3"]) == 0
    assert [row["epoch"] for row in rows_of(out)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("rank", "line"), [("0", "seglab: command must be train to be shared by 2 processes; got list.\n"), ("1", "")]
)
def test_other_commands_are_not_done_twice(rank, line):
    surroundings = os.environ | {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": rank}
    call = [sys.executable, "-m", "seglab", "list"]
    done = subprocess.run(call, env=surroundings, capture_output=True, text=True, check=False, cwd=HERE.parent)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_module_is_the_command():
    call = [sys.executable, "-m", "seglab", "list", "losses"]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=HERE.parent)
    assert done.stdout.startswith("losses: adaptive_exponential")
