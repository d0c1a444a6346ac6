import numpy as np
import pytest

from models.active.knowledge import UNKNOWN, Knowledge, without

BELIEF = np.array([0.5, 0.3, 0.2])


def test_a_yes_makes_the_class_known():
    knowledge = Knowledge(2, 3)

    knowledge.tell(0, 1, True, BELIEF)

    nodes, targets = knowledge.targets()
    assert nodes.tolist() == [0]
    assert targets.tolist() == [[0.0, 1.0, 0.0]]
    assert knowledge.open.tolist() == [False, True]


def test_a_no_leaves_the_models_distribution_without_that_class():
    knowledge = Knowledge(2, 3)

    knowledge.tell(0, 0, False, BELIEF)

    _, targets = knowledge.targets()
    assert targets[0] == pytest.approx([0.0, 0.6, 0.4])
    assert knowledge.open[0]


def test_a_no_to_all_classes_but_one_makes_that_one_known():
    knowledge = Knowledge(1, 3)

    knowledge.tell(0, 0, False, BELIEF)
    knowledge.tell(0, 2, False, BELIEF)

    assert knowledge.label[0] == 1


def test_soft_labels_are_made_of_the_belief_at_the_latest_question():
    knowledge = Knowledge(1, 4)

    knowledge.tell(0, 0, False, np.array([0.7, 0.1, 0.1, 0.1]))
    knowledge.tell(0, 1, False, np.array([0.1, 0.5, 0.3, 0.1]))

    assert knowledge.targets()[1][0] == pytest.approx([0.0, 0.0, 0.75, 0.25])


@pytest.mark.parametrize(
    "answers",
    [[(0, False), (0, True)], [(0, True), (0, False)], [(0, True), (1, True)], [(0, False), (1, False), (2, False)]],
)
def test_answers_that_cannot_all_be_true_set_the_node_aside(answers):
    knowledge = Knowledge(2, 3)

    for label, answer in answers:
        knowledge.tell(0, label, answer, BELIEF)

    assert knowledge.contradictions == 1
    assert not knowledge.open[0]
    assert knowledge.label[0] == UNKNOWN
    assert len(knowledge.targets()[0]) == 0
    knowledge.tell(0, 1, True, BELIEF)
    assert len(knowledge.targets()[0]) == 0


def test_an_exact_label_that_was_ruled_out_is_a_contradiction():
    knowledge = Knowledge(1, 3)

    knowledge.tell(0, 0, False, BELIEF)
    knowledge.reveal(0, 0)

    assert knowledge.contradictions == 1


def test_the_same_answer_twice_changes_nothing():
    knowledge = Knowledge(1, 3)

    knowledge.tell(0, 1, True, BELIEF)
    knowledge.tell(0, 1, True, BELIEF)
    knowledge.reveal(0, 1)

    assert knowledge.label[0] == 1
    assert knowledge.contradictions == 0


def test_a_belief_with_nothing_left_is_spread_over_the_other_classes():
    left = without(np.array([[1.0, 0.0, 0.0]]), np.array([[True, False, False]]))

    assert left.tolist() == [[0.0, 0.5, 0.5]]


def test_a_state_restores_what_is_known():
    knowledge, other = Knowledge(2, 3), Knowledge(2, 3)
    knowledge.tell(0, 0, False, BELIEF)
    knowledge.reveal(1, 2)

    other.load(knowledge.state())

    for ours, theirs in zip(other.targets(), knowledge.targets(), strict=True):
        assert ours.tolist() == theirs.tolist()
