import numpy as np

from jaxhar.training.learned import Learned


def test_labels_of_actions_are_counted():
    learned = Learned()
    learned.add({"stills": {"pose": np.zeros((2, 1, 3, 2))}, "clips": {"action": np.array([-1, -1])}})
    assert learned == Learned() and learned.unseen(("a", "b", "c")) == []
    learned.add({"clips": {"action": np.array([1, -1, 1])}})
    learned.add({"clips": {"action": np.array([0])}, "others": {"action": np.array([1, 3])}})
    assert learned == Learned(True, [1, 3, 0, 1])
    assert learned.unseen(("a", "b", "c", "d", "e")) == ["c", "e"]


def test_soft_labels_and_several_sets_are_labels_too():
    for action in (np.full((2, 3), 1 / 3), (np.array([1]), np.array([-1]))):
        learned = Learned()
        learned.add({"clips": {"action": action}})
        assert learned == Learned(True, []) and learned.unseen(("a", "b", "c")) == []
