import pytest

from jaxhar.host import process
from jaxhar.host.errors import Problem


@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "WORLD_SIZE"])
def test_several_processes_of_one_launcher_are_told_that_one_is_enough(monkeypatch, name):
    for other in process.COUNTS:
        monkeypatch.delenv(other, raising=False)
    process.refuse_several()
    monkeypatch.setenv(name, "1")
    process.refuse_several()
    monkeypatch.setenv(name, "4")
    with pytest.raises(Problem, match=f"4 processes of this command were started \\({name}\\)"):
        process.refuse_several()
