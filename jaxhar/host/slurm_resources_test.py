import pytest

from jaxhar.host import slurm_resources
from jaxhar.host.errors import Usage


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("1:30", 2),
        ("4:00:00", 240),
        ("0:59:01", 60),
        ("2-0", 2880),
        ("1-12:30", 2190),
        ("1-00:00:01", 1441),
    ],
)
def test_times_are_those_of_slurm(text, minutes):
    assert slurm_resources.minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "4h", "1:2:3:4", "1-", "-5", "1.5", "1-2:3:4:5", "0", "0-0:00"])
def test_other_times_are_one_sentence(text):
    with pytest.raises(Usage, match=r"^--time .*(days-hours|e\.g\. 4:00:00)"):
        slurm_resources.minutes(text)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"nodes": 0}, "--nodes is 0; it must be at least 1"),
        ({"gpus": -1}, "--gpus-per-node is -1"),
        ({"cpus": 0}, "--cpus-per-task is 0"),
        ({"gpus": 8, "tasks": 4}, "--tasks-per-node 4 does not fit 8 GPUs"),
        ({"signal_delay": 600}, "--signal-delay-s 600 must lie within the 600 seconds of --time"),
        ({"requeues": -1}, "--max-requeues is -1"),
        ({"memory": "64 gigabytes"}, "--mem '64 gigabytes' is not a size"),
        ({"comment": "a\n#SBATCH --uid=0"}, "has more than one line"),
        ({"others": {"constraint": "a\rb"}}, "has more than one line"),
        ({"others": {"qos=\n#": "a"}}, "is no option of sbatch"),
        ({"others": {"ntasks-per-node": "4"}}, "jaxhar slurm sets it by --tasks-per-node"),
        ({"others": {"no-requeue": True}}, "because jaxhar slurm sets it$"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(wrong, sentence):
    with pytest.raises(Usage, match=sentence):
        slurm_resources.Resources(10, **wrong)
