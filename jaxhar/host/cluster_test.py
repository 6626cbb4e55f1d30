import pytest

from jaxhar.host import cluster
from jaxhar.host.errors import Problem, Usage

#: What srun sets in the second of four tasks on two machines.
STEP = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No launcher."""
    for name in (*STEP, *cluster._FOREIGN, "OMPI_COMM_WORLD_SIZE", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)


def test_one_process_is_alone():
    with cluster.joined():
        assert (cluster.count(), cluster.index(), cluster.first()) == (1, 0, True)
        assert cluster.gather({"a": 1}) == [{"a": 1}]
        with cluster.first_before_others():
            cluster.wait()


def test_srun_is_recognised_and_a_batch_script_is_one_process(monkeypatch):
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    assert cluster._launcher() == ("slurm", 4)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    assert cluster._launcher() == ("slurm", 1)


@pytest.mark.parametrize("name", ["PMI_SIZE", "WORLD_SIZE"])
def test_launchers_that_are_not_known_are_told(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with cluster.joined():
        pass
    monkeypatch.setenv(name, "4")
    with pytest.raises(Problem, match=f"4 processes of this command were started \\({name}\\)"), cluster.joined():
        pass


@pytest.mark.parametrize(
    ("environment", "devices"),
    [
        ({}, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x2)", "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "8(x2)", "CUDA_VISIBLE_DEVICES": "5"}, [0]),
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, [0, 1, 2, 3]),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "CUDA_VISIBLE_DEVICES": "0,1"}, [0, 1]),
    ],
)
def test_each_task_takes_its_gpus(environment, devices):
    assert cluster.own_devices(environment) == devices


def test_what_is_given_by_hand_is_checked():
    with pytest.raises(Usage, match="--process=2 is not one of 2 processes"):
        cluster.Member("host:1234", 2, 2)
    with pytest.raises(Usage, match="--coordinator=host is not HOST:PORT"):
        cluster.Member("host", 2, 0)
