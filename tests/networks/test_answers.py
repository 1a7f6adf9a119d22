"""Teachers who say less: what a student is told, and what its loss then is."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kd_lib.networks import answers, training
from tests.trainings import net, train


class Says(nn.Module):
    """A teacher that says what it is given."""

    def forward(self, images):
        return images


LOGITS = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))


def test_the_top_answer_alone_makes_hard_labels():
    said = answers.TopAnswer(Says())(LOGITS)
    assert torch.equal(said.argmax(1), LOGITS.argmax(1))
    student = torch.randn(200, 5, generator=torch.Generator().manual_seed(1))
    found = training.distillation_loss(student, said, torch.zeros(200).long(), temperature=1.0)
    torch.testing.assert_close(found, F.cross_entropy(student, LOGITS.argmax(1)))


def test_permuted_answers_keep_the_first_class_and_the_values_and_lose_the_rest():
    torch.manual_seed(0)
    said = answers.Permuted(Says())(LOGITS)
    assert torch.equal(said.sort(1).values, LOGITS.sort(1).values)
    top = LOGITS.argmax(1)
    assert torch.equal(said.argmax(1), top)
    second = LOGITS.argsort(1, descending=True)[:, 1]
    kept = (said.argsort(1, descending=True)[:, 1] == second).float().mean()
    assert 0.1 < kept < 0.4  # a quarter by chance
    assert not torch.equal(said, answers.Permuted(Says())(LOGITS))


@pytest.mark.parametrize("how", [answers.TOP, answers.PERMUTED])
def test_a_student_learns_from_it_and_goes_on_to_the_same_bits(tmp_path, how):
    teacher = answers.saying(net(), how)
    whole = train(tmp_path / "whole", teacher=teacher, temperature=1.0)
    train(tmp_path / "stopped", teacher=teacher, temperature=1.0, until=1)
    again = train(tmp_path / "stopped", teacher=teacher, temperature=1.0)
    assert whole["loss"].tolist()[1:] == again["loss"].tolist()[1:]


def test_soft_answers_are_the_teachers_own_and_others_are_refused():
    teacher = Says()
    assert answers.saying(teacher, answers.SOFT) is teacher
    with pytest.raises(ValueError, match="answers='hard': expected one of 'soft', 'top', 'permuted'"):
        answers.saying(teacher, "hard")
