import math

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms.v2 import functional as transforms

from kd_lib.networks import architectures, training
from kd_lib.networks.checkpoints import Checkpoints
from tests.trainings import DROPOUT, SMALL, coloured, files_in, net, train, weights

# Augmentation


def shifts_and_mirrors(image, padding):
    """Every possible augmentation of one image, by torchvision."""
    height, width = image.shape[1:]
    padded = transforms.pad(image, [padding] * 4)
    corners = [(top, left) for top in range(2 * padding + 1) for left in range(2 * padding + 1)]
    crops = [transforms.crop(padded, top, left, height, width) for top, left in corners]
    return crops + [transforms.hflip(padded)[:, top : top + height, left : left + width] for top, left in corners]


def test_augment_gives_every_shift_and_mirror_equally_often():
    image = torch.arange(1.0, 25).reshape(2, 3, 4)
    n = 6000
    images = training.augment(
        image.expand(n, -1, -1, -1), flip=True, crop_padding=1, generator=torch.Generator().manual_seed(0)
    )
    outcomes = shifts_and_mirrors(image, 1)
    counts = [int((images == outcome).flatten(1).all(1).sum()) for outcome in outcomes]
    assert len(outcomes) == 18
    assert sum(counts) == n
    assert max(abs(count - n / 18) for count in counts) < 5 * math.sqrt(n / 18)


def test_augment_by_hand():
    image = torch.tensor([[[[1.0, 2], [3, 4]]]]).expand(64, -1, -1, -1)
    mirrored = training.augment(image, flip=True, crop_padding=0, generator=torch.Generator().manual_seed(0))
    assert {str(m.tolist()) for m in mirrored} == {"[[[1.0, 2.0], [3.0, 4.0]]]", "[[[2.0, 1.0], [4.0, 3.0]]]"}
    shifted = training.augment(image, flip=False, crop_padding=1, generator=torch.Generator().manual_seed(0))
    assert torch.tensor([[[0.0, 0], [0, 1]]]).tolist() in shifted.tolist()  # by (1, 1)
    assert torch.tensor([[[2.0, 0], [4, 0]]]).tolist() in shifted.tolist()  # by (0, -1)
    assert torch.tensor([[[2.0, 1], [4, 3]]]).tolist() not in shifted.tolist()


def test_augment_is_a_function_of_its_generator_alone():
    images = torch.randn(8, 3, 9, 7)
    before = torch.get_rng_state()

    def once(seed):
        return training.augment(images, flip=True, crop_padding=4, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))
    assert torch.equal(torch.get_rng_state(), before)
    same = training.augment(images, flip=False, crop_padding=0, generator=torch.Generator())
    assert torch.equal(same, images)


# Losses and measures


def test_distillation_loss_by_hand():
    student = torch.zeros(2, 2)  # (1/2, 1/2) at any temperature
    teacher = torch.tensor([[0.0, 2 * math.log(3)], [0.0, 0.0]])  # at T = 2: (1/4, 3/4) and (1/2, 1/2)
    soft = 4 * (0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)) / 2
    labels = torch.tensor([0, 1])
    loss = training.distillation_loss(student, teacher, labels, temperature=2.0, hard_weight=0.0)
    assert loss.item() == pytest.approx(soft, rel=1e-6)
    mixed = training.distillation_loss(student, teacher, labels, temperature=2.0, hard_weight=0.25)
    assert mixed.item() == pytest.approx(0.75 * soft + 0.25 * math.log(2), rel=1e-6)


def test_distillation_gradient_at_high_temperature_matches_the_logits():
    """Hinton et al. (2015), section 2.1: with zero-mean logits the gradient tends to (z - v) / K an image."""
    student = torch.tensor([[1.0, -2.0, 1.0]], requires_grad=True)
    teacher = torch.tensor([[0.5, 0.5, -1.0]])
    training.distillation_loss(student, teacher, torch.tensor([0]), temperature=1000.0).backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / 3, atol=2e-3, rtol=0)


def test_distillation_loss_is_zero_at_the_teacher():
    logits = torch.randn(5, 4)
    assert training.distillation_loss(logits, logits, torch.zeros(5, dtype=torch.long)).item() == pytest.approx(0)


def test_predict_leaves_the_network_as_found(monkeypatch):
    data, model = coloured(), net()
    model.conv1.eval()  # a mixture of modes is kept too
    modes = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    logits = training.predict(model, data, data.train)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    monkeypatch.setitem(training.AT_ONCE, "cpu", 7)
    torch.testing.assert_close(training.predict(model, data, data.train), logits)
    torch.testing.assert_close(model.eval()(data.normalise(data.train.images)), logits)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad


def test_accuracy_by_hand():
    assert training.accuracy(torch.tensor([[1.0, 2], [3, 0], [0, 1]]), torch.tensor([1, 0, 0])) == pytest.approx(2 / 3)


# Training


def test_history_and_checkpoints(tmp_path, capsys):
    history = train(tmp_path, data=coloured(n=96), epochs=10, verbose=True)
    assert list(history.columns) == ["model", "epoch", "loss", "train_accuracy", "test_accuracy", "images_per_second"]
    assert history["epoch"].tolist() == list(range(11))
    assert history.loc[0, ["loss", "train_accuracy", "images_per_second"]].isna().all()
    assert history.loc[1:].notna().all(axis=None)
    assert history["loss"].iloc[-1] < history["loss"].iloc[1] / 2
    assert history["test_accuracy"].iloc[-1] > 0.9
    written = pd.read_csv(tmp_path / "a" / "history.csv")
    pd.testing.assert_frame_equal(written, history)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    for word in ("a  epoch 10/10", "loss 0.", "accuracy", "%", "images/s", "ETA 0:00:00"):
        assert word in lines[-1]

    data = coloured()
    for epoch in (0, 10):
        model = Checkpoints(tmp_path).load("a", epoch, net(seed=9))
        assert training.accuracy(training.predict(model, data, data.test), data.test.labels) == pytest.approx(
            history["test_accuracy"][epoch]
        )


def test_epoch_0_is_the_initialisation(tmp_path):
    train(tmp_path, epochs=1, seed=5)
    stored = Checkpoints(tmp_path).load("a", 0, net(seed=9))
    fresh = net(seed=architectures.seed_of("a", 5))
    assert all(torch.equal(value, fresh.state_dict()[key]) for key, value in stored.state_dict().items())


@pytest.mark.parametrize(("optimiser", "max_lr"), [("sgd", 0.05), ("adam", 0.001)])
@pytest.mark.parametrize("distilled", [False, True])
def test_training_equals_a_plain_loop(tmp_path, distilled, optimiser, max_lr):
    data, arch = coloured(n=24), "squeezenet1_1"  # without batch normalisation, which makes much of rounding errors
    name, teacher = ("distilled", net(3, arch)) if distilled else ("a", None)
    options = {"arch": arch, "optimiser": optimiser, "max_lr": max_lr, "batch_size": 8, "crop_padding": 0}
    train(tmp_path, name, data, teacher=teacher, temperature=3.0, hard_weight=0.2, **options)

    model = net(architectures.seed_of(name, 0), arch)
    initial = {key: value.clone() for key, value in model.state_dict().items()}
    common = {"lr": max_lr, "weight_decay": 5e-4, "foreach": False}
    if optimiser == "sgd":
        stepper = torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True, **common)
    else:
        stepper = torch.optim.Adam(model.parameters(), betas=(0.9, 0.999), **common)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        stepper, max_lr, total_steps=6, anneal_strategy="linear", cycle_momentum=False
    )
    model.train()
    for _ in range(2):
        for rows in torch.randperm(24).split(8):
            images, labels = data.normalise(data.train.images[rows]), data.train.labels[rows]
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            if distilled:
                with torch.no_grad():
                    soft = (teacher.eval()(images) / 3).softmax(1)
                loss = 0.8 * 9 * F.kl_div((logits / 3).log_softmax(1), soft, reduction="batchmean") + 0.2 * loss
            stepper.zero_grad()
            loss.backward()
            stepper.step()
            schedule.step()
    stored = Checkpoints(tmp_path).load(name, 2, net(arch=arch)).state_dict()
    assert max((value - initial[key]).abs().max() for key, value in stored.items()) > 1e-3
    for key, value in stored.items():
        torch.testing.assert_close(value, model.state_dict()[key], atol=1e-5, rtol=1e-4, msg=key)


def test_teacher_sees_the_same_augmented_batch_and_is_left_as_found(tmp_path, monkeypatch):
    batches, augment, seen = [], training.augment, []
    teacher = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)).train()
    teacher.register_forward_pre_hook(
        lambda module, images: seen.append((images[0].clone(), module.training, torch.is_grad_enabled()))
    )
    monkeypatch.setattr(training, "augment", lambda *a, **k: batches.append(augment(*a, **k)) or batches[-1])
    train(tmp_path, "distilled", teacher=teacher, epochs=1, flip=True)
    assert len(batches) == 3
    for batch, (images, in_training, with_grad) in zip(batches, seen[-len(batches) :], strict=True):
        assert torch.equal(batch, images)
        assert not in_training
        assert not with_grad
    assert teacher.training
    assert teacher[2].weight.grad is None


def test_distilled_net_approaches_its_teacher(tmp_path):
    data, options = coloured(n=96), {"epochs": 10}
    train(tmp_path, "a", data, **options)
    teacher = architectures.Ensemble([Checkpoints(tmp_path).load("a", 10, net())])
    history = train(tmp_path, "distilled", data, teacher=teacher, **options)
    assert history["test_accuracy"].iloc[-1] > 0.9
    assert weights(tmp_path, "distilled")["epoch-000.safetensors"] != weights(tmp_path)["epoch-000.safetensors"]


def test_bfloat16_trains_and_keeps_float32_weights(tmp_path):
    history = train(tmp_path, data=coloured(n=96), precision="bfloat16", epochs=10)
    assert history["test_accuracy"].iloc[-1] > 0.8
    model = Checkpoints(tmp_path).load("a", 10, net())
    assert model.conv1[0].weight.dtype == torch.float32


def test_global_random_state_is_left_alone_and_without_effect(tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train(tmp_path / "one", arch=DROPOUT, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    train(tmp_path / "two", arch=DROPOUT, epochs=1)
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ensemble"}, "unknown network 'ensemble'"),
        ({"arch": "vit_b_16"}, "'vit_b_16' does not take 32x32 images"),
        ({"data": coloured(n=3), "batch_size": 2}, "3 training images in batches of 2"),
        ({"teacher": net(), "temperature": 0.0}, "temperature is 0.0"),
        ({"teacher": net(), "hard_weight": 1.5}, "hard_weight is 1.5"),
        ({"teacher": architectures.build(SMALL, 4)}, r"the teacher returns \(4,\) outputs"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as error:
        train(tmp_path, **options)
    assert "\n" not in str(error.value)
    assert not files_in(tmp_path)


def test_a_diverging_training_stops_before_it_stores_the_epoch(tmp_path):
    with pytest.raises(ValueError, match="loss of 'a' is .* in epoch 1: lower max_lr"):
        train(tmp_path, max_lr=1e30, epochs=3)
    assert Checkpoints(tmp_path).epochs("a") == [0]


def test_pick_device(monkeypatch):
    assert training.pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        training.pick_device("tpu")
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert training.pick_device("auto").type == ("cuda" if there else "cpu")
    with pytest.raises(ValueError, match="'cuda' is not available"):
        training.pick_device("cuda")
