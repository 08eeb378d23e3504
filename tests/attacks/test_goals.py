import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from robustsnn.attacks import DLR, PGD, CrossEntropy, KullbackLeibler, Margin, TargetedAPGD, TargetedDLR, kl_divergence
from robustsnn.attacks.goals import answer, begin, clean_logits
from robustsnn.seeds import generator
from robustsnn.threats import Linf
from robustsnn.types import Following

logits = st.lists(st.floats(-20, 20, width=32), min_size=6, max_size=6).map(lambda values: torch.tensor(values).view(2, 3))
X = torch.rand(4, 3, 1, 1, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0])


@given(logits, logits)
def test_the_divergence_is_torchs(p, q):
    expected = F.kl_div(F.log_softmax(q.double(), 1), F.log_softmax(p.double(), 1), reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(kl_divergence(p.double(), q.double()), expected)


@given(logits, logits, st.floats(-10, 10))
def test_the_divergence_is_a_distance_of_answers(p, q, shift):
    assert (kl_divergence(p, q) >= -1e-5).all()
    torch.testing.assert_close(kl_divergence(p, p), torch.zeros(2))
    torch.testing.assert_close(kl_divergence(p + shift, q), kl_divergence(p, q), rtol=1e-3, atol=1e-3)


def test_gradients_flow_through_both_arguments():
    p, q = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    kl_divergence(p, q).sum().backward()
    torch.testing.assert_close(q.grad, q.softmax(1) - p.softmax(1))
    assert p.grad.norm() > 0


def test_cross_entropy_is_that_of_each_image_on_its_own_label():
    index = torch.tensor([2, 0])
    losses = CrossEntropy().on(nn.Flatten(), X, Y)
    expected = torch.stack([F.cross_entropy(X[i].flatten()[None], Y[i : i + 1]) for i in index])
    torch.testing.assert_close(losses(X[index].flatten(1), index), expected)


def test_kullback_leibler_is_measured_from_the_answer_on_the_clean_image():
    index = torch.tensor([3, 1])
    losses = KullbackLeibler().on(nn.Flatten(), X, Y)
    moved = X[index].flatten(1) * 3
    torch.testing.assert_close(losses(moved, index), kl_divergence(X[index].flatten(1), moved))
    torch.testing.assert_close(losses(X[index].flatten(1), index), torch.zeros(2))


def test_kullback_leibler_needs_no_label_and_no_gradient_of_the_clean_answer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    losses = KullbackLeibler().on(model, X, Y)
    assert torch.equal(
        losses(model(X * 2), torch.arange(4)), KullbackLeibler().on(model, X, 0 * Y)(model(X * 2), torch.arange(4))
    )
    moved = (X * 2).requires_grad_()
    losses(moved.flatten(1), torch.arange(4)).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())


CLEAN = torch.tensor([[1.0, 4.0, 2.0, 0.5], [3.0, -1.0, 0.0, 1.0]])
EVERYONE = torch.arange(2)


def values(goal, logits, y, clean=CLEAN):
    """What ``goal`` gives for ``logits`` on images whose clean logits are ``clean``."""
    return goal.on(nn.Flatten(), clean[:, :, None, None], y)(logits, torch.arange(len(logits)))


def test_the_margin_is_how_far_the_likeliest_wrong_class_is_ahead():
    torch.testing.assert_close(values(Margin(), CLEAN, torch.tensor([0, 0])), torch.tensor([3.0, -2.0]))
    torch.testing.assert_close(values(Margin(), CLEAN, torch.tensor([1, 3])), torch.tensor([-2.0, 2.0]))


def test_dlr_is_the_margin_over_the_distance_of_first_and_third():
    torch.testing.assert_close(values(DLR(), CLEAN, torch.tensor([0, 0])), torch.tensor([3 / 3, -2 / 3]))
    torch.testing.assert_close(values(DLR(), CLEAN, torch.tensor([1, 1])), torch.tensor([-2 / 3, 4 / 3]))


@pytest.mark.parametrize(("rank", "first", "second"), [(1, -2.0, 2.0), (2, -3.0, 1.0), (3, -3.5, -1.0)])
def test_targeted_dlr_leads_to_the_class_of_that_rank_on_the_clean_image(rank, first, second):
    y = torch.tensor([1, 2])  # the wrong classes are 2, 0, 3 and 0, 3, 1
    expected = torch.tensor([first, [3, 1, -1][rank - 1]]) / torch.tensor([4 - (1 + 0.5) / 2, 3 - (0 - 1) / 2])
    torch.testing.assert_close(values(TargetedDLR(rank), CLEAN, y), expected)
    moved = CLEAN.flip(1)  # the clean ranks still count: now the targets' logits are elsewhere
    target = torch.tensor([[2, 0, 3][rank - 1], [0, 3, 1][rank - 1]])
    span = torch.tensor([4 - (1 + 0.5) / 2, 3 - (0 - 1) / 2])
    torch.testing.assert_close(values(TargetedDLR(rank), moved, y), (moved[EVERYONE, target] - moved[EVERYONE, y]) / span)


@given(logits.map(lambda pair: pair.double()), st.floats(-10, 10), st.floats(0.1, 10))
def test_ratios_are_blind_to_shift_and_scale_unless_logits_tie(pair, shift, scale):
    if (pair.amax(1) - pair.amin(1)).min() < 1e-3:
        return
    y = torch.tensor([0, 1])
    torch.testing.assert_close(values(DLR(), scale * pair + shift, y, pair.float()), values(DLR(), pair, y, pair.float()))
    four = torch.cat([pair, pair[:, :1] - 1], 1)
    goal = TargetedDLR(2)
    torch.testing.assert_close(values(goal, scale * four + shift, y, four), values(goal, four, y, four))


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_fall_back_to_margins(classes):
    few, y = CLEAN[:, :classes], torch.tensor([0, 1])
    if classes == 2:
        torch.testing.assert_close(values(DLR(), few, y, few), values(Margin(), few, y, few))
    for rank in range(1, classes):
        wrong = torch.tensor([[1, 2], [0, 2]] if classes == 3 else [[1], [0]])
        target = torch.stack([c[f[c].argsort(descending=True)] for c, f in zip(wrong, few, strict=True)])[:, rank - 1]
        torch.testing.assert_close(values(TargetedDLR(rank), few, y, few), few[EVERYONE, target] - few[EVERYONE, y])


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("goal", [Margin(), DLR(), TargetedDLR(1)], ids=repr)
def test_equal_logits_are_worth_nothing_and_divide_by_nothing(goal, classes):
    flat = torch.zeros(2, classes, requires_grad=True)
    result = values(goal, flat, torch.tensor([0, 1]), flat.detach())
    result.sum().backward()
    assert torch.equal(result, torch.zeros(2))
    assert flat.grad.isfinite().all()


@given(st.integers(2, 10), st.integers(0, 1000))
def test_a_goal_is_above_zero_just_where_the_image_is_misclassified(classes, seed):
    pair, y = torch.randn(2, classes, generator=generator(seed)), torch.tensor([0, 1])
    wrong = pair.argmax(1) != y
    for goal in (Margin(), DLR()):
        assert torch.equal(values(goal, pair, y, pair) > 0, wrong)
    targeted = torch.stack([values(TargetedDLR(rank), pair, y, pair) for rank in range(1, classes)])
    assert torch.equal((targeted > 0).any(0), wrong)


def test_what_has_no_wrong_class_of_that_rank_is_refused(unchecked):
    with pytest.raises(ValueError, match="two or more classes"):
        values(Margin(), CLEAN[:, :1], torch.tensor([0, 0]), CLEAN[:, :1])
    with pytest.raises(ValueError, match="this model has 3 wrong classes"):
        values(TargetedDLR(4), CLEAN, torch.tensor([0, 0]))
    for rank in (0, -1, 1.5):
        with pytest.raises(ValueError, match="rank of TargetedDLR must be a whole number of at least 1"):
            TargetedDLR(rank)


class Diary(nn.Module):
    """A classifier that keeps what it was told, and how many images it was then shown."""

    def __init__(self):
        super().__init__()
        self.told = []

    def begin(self, count):
        self.told.append(("begin", count))

    def follow(self, index):
        self.told.append(("follow", *index.tolist()))

    def forward(self, x):
        assert self.told[-1] == ("begin", len(x)) or len(self.told[-1]) == 1 + len(x)
        self.told.append("look")
        return x.flatten(1)


def test_a_model_that_follows_its_images_is_told_of_every_run_and_every_batch():
    diary = Diary()
    assert isinstance(diary, Following)
    judge = lambda iterates, index: index == 1  # noqa: E731
    PGD(steps=2, restarts=2)(diary, X[:3], Y[:3], Linf(0.1), rng=generator(0), judge=judge)
    both, rest = [("follow", 0, 1, 2), "look"], [("follow", 0, 2), "look"]
    renamed = [("follow", 0, 1), "look"]  # a run numbers its images from 0
    last = [("follow", 0, 1, 2), "look"]  # what the run found is worth
    assert diary.told == [("begin", 3), *both, *rest, *last, ("begin", 2), *renamed, *renamed, *renamed]


def test_goals_that_look_at_clean_images_begin_anew():
    diary = Diary()
    KullbackLeibler().on(diary, X, Y)
    TargetedDLR().on(diary, X, Y)
    assert diary.told == [("begin", 4), ("follow", 0, 1, 2, 3), "look"] * 2
    told = len(diary.told)
    TargetedAPGD(steps=1, targets=2)(diary, X, Y, Linf(0.1), rng=generator(0))
    assert [what for what in diary.told[told:] if what[0] == "begin"] == [("begin", 4)] * 5  # K, 2 targets, 2 runs


def test_models_without_a_memory_are_asked_as_they_are():
    begin(nn.Flatten(), 4)
    assert torch.equal(answer(nn.Flatten(), X, torch.arange(4)), X.flatten(1))
    assert not clean_logits(nn.Sequential(nn.Flatten(), nn.Linear(3, 3)), X).requires_grad


@pytest.mark.parametrize("goal", [CrossEntropy(), KullbackLeibler(), Margin(), DLR(), TargetedDLR()], ids=repr)
def test_goals_are_values(goal):
    assert goal == type(goal)()
    assert hash(goal) == hash(type(goal)())
