"""fit and evaluate: what a run returns, what is trained, one seed gives one result, and what is refused."""

import copy
import io
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, roc_auc_score
from small_runs import FEATURES, TRAIN, VALID, attended, run, same_run, small_cnn
from torch import nn

from gsa_utils.attended import attend
from gsa_utils.attention import FreeMap, GlobalSpatialAttention
from gsa_utils.datasets.phantoms import make_phantom
from gsa_utils.evaluation.scores import evaluate
from gsa_utils.images import ImageSet
from gsa_utils.networks.backbones import build_backbone
from gsa_utils.networks.pooling import AttentivePooling, replace_pooling
from gsa_utils.pixels.features import pixel_features
from gsa_utils.training import checks, loop
from gsa_utils.training.loop import check_settings

ROOT = Path(__file__).parents[3]


def coloured(labels, classes, size=16, channels=3, groups=None):
    """Noise with one bright square a class."""
    labels = torch.as_tensor(labels)
    images = torch.randint(0, 120, (len(labels), channels, size, size), generator=torch.Generator().manual_seed(0))
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4, :8] += 100
    return ImageSet(images.to(torch.uint8), labels, [f"class {k}" for k in range(classes)], groups)


@pytest.fixture(scope="module")
def uninterrupted():
    return run()


# ---------------------------------------------------------------- people in two sets


def of_people(*names, channels=1):
    """As many images as names, of both classes."""
    return coloured([i % 2 for i in range(len(names))], 2, channels=channels, groups=list(names))


def test_people_whom_both_sets_show_are_named_when_a_model_is_trained_and_scored(recwarn):
    train, valid = of_people(*"aabbccdd"), of_people(*"ddef")  # numbered from 0 in each
    with pytest.warns(UserWarning, match=r"valid: got 1 of 3 groups that the model was trained on \(d\), expected "):
        result = run(small_cnn(), train, valid, epochs=1)
    with pytest.warns(UserWarning, match=r"image_set: got 2 of 2 groups that .* \(a, b\)"):
        evaluate(result.model, of_people(*"abab"))
    recwarn.clear()
    evaluate(result.model, of_people(*"efgh"))
    evaluate(result.model, coloured([0, 1], 2, channels=1))
    assert not len(recwarn)


def test_people_that_two_sets_number_alike_but_name_differently_are_others(recwarn):
    run(small_cnn(), of_people(*"aabb"), of_people(*"ccdd"), epochs=1)
    assert not [one for one in recwarn if "groups" in str(one.message)]


def test_a_model_that_was_trained_twice_has_met_the_people_of_both_sets_and_holds_no_name():
    result = run(small_cnn(), of_people("anna", "ben", "anna", "ben"), of_people("x", "y"), epochs=1)
    again = run(result.model, of_people("carl", "dora"), of_people("x", "y"), epochs=1)
    with pytest.warns(UserWarning, match=r"2 of 2 groups .*\(anna, carl\)"):
        evaluate(again.model, of_people("anna", "carl"))
    assert not any("anna" in key for key in again.model.met)
    small_cnn().load_state_dict({name.removeprefix("model."): v for name, v in again.model.state_dict().items()}, False)


# ---------------------------------------------------------------- what a run returns


def test_a_run_has_one_row_and_one_map_an_epoch(uninterrupted):
    assert [row["epoch"] for row in uninterrupted.history] == [0, 1, 2, 3]
    columns = {"epoch", "train_loss", "valid_loss", "valid_accuracy", "valid_auroc", "seconds"}
    assert all(set(row) == columns for row in uninterrupted.history)
    assert [weight_map.shape for weight_map in uninterrupted.maps] == [(16, 16)] * 4
    assert all(weight_map.device.type == "cpu" and not weight_map.requires_grad for weight_map in uninterrupted.maps)
    assert not torch.equal(uninterrupted.maps[0], uninterrupted.maps[1])
    assert uninterrupted.seconds == pytest.approx(sum(row["seconds"] for row in uninterrupted.history))


def test_the_rows_hold_what_evaluate_says_and_the_map_is_that_of_the_same_epoch(monkeypatch):
    seen = []

    def spy(model, image_set, **rest):
        scores = evaluate(model, image_set, **rest)
        seen.append((scores, model.model.attention.map().detach().clone()))
        return scores

    monkeypatch.setattr(checks, "evaluate", spy)
    result = run()
    for row, weight_map, (scores, map_seen) in zip(result.history, result.maps, seen, strict=True):
        assert {name: row[f"valid_{name}"] for name in scores} == scores
        assert torch.equal(weight_map, map_seen)


def test_a_model_without_attention_has_no_maps():
    result = run(small_cnn())
    assert result.maps == []
    assert len(result.history) == 4


@pytest.fixture
def script(monkeypatch):
    """Has validation answer with these losses and AUROCs; gives the list of the weights it is asked about."""

    def answer(losses, aurocs):
        states, answers = [], iter(zip(losses, aurocs, strict=True))

        def scripted(model, image_set, **rest):
            states.append(copy.deepcopy(model.state_dict()))
            loss, auroc = next(answers)
            return {"accuracy": 0.5, "auroc": auroc, "loss": loss}

        monkeypatch.setattr(checks, "evaluate", scripted)
        return states

    return answer


def holds_weights_of(result, epoch, states):
    return (
        result.kept_epoch == epoch
        and all(torch.equal(value, states[epoch][name]) for name, value in result.model.state_dict().items())
        and torch.equal(result.model.model.attention.map(), result.maps[epoch])
    )


@pytest.mark.parametrize(
    ("losses", "aurocs", "lowest", "highest"),
    [
        ([0.5, 0.2, 0.9, 0.3], [0.6, 0.5, 0.9, 0.7], 1, 2),
        ([0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], 0, 3),
        ([0.4, 0.3, 0.2, 0.1], [0.8, 0.7, 0.6, 0.5], 3, 0),
        ([0.3] * 4, [0.5] * 4, 0, 0),  # the first of equals
    ],
)
def test_the_weights_of_the_epoch_that_was_asked_for_are_returned(losses, aurocs, lowest, highest, script):
    for keep, epoch in {"last": 3, "loss": lowest, "auroc": highest}.items():
        states = script(losses, aurocs)
        assert holds_weights_of(run(keep=keep), epoch, states), keep


def test_without_a_word_the_last_epoch_is_kept(script):
    states = script([0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.7, 0.6])
    assert holds_weights_of(run(), 3, states)


@pytest.mark.parametrize(("keep", "epoch"), [("last", 2), ("loss", 1), ("auroc", 0)])
def test_of_a_run_that_is_stopped_the_epochs_so_far_are_chosen_from(keep, epoch, script):
    states = script([0.5, 0.2, 0.9, 0.1], [0.8, 0.5, 0.6, 0.9])
    assert holds_weights_of(run(keep=keep, callbacks=[lambda run, _: len(run.history) == 3]), epoch, states)


def test_the_returned_model_is_in_evaluation_mode_and_scores_as_its_row_says(uninterrupted):
    assert not any(module.training for module in uninterrupted.model.modules())
    row, scores = uninterrupted.history[uninterrupted.kept_epoch], evaluate(uninterrupted.model, VALID)
    assert scores["loss"] == pytest.approx(row["valid_loss"], abs=1e-6)
    assert scores["auroc"] == row["valid_auroc"]


def test_the_given_model_is_trained_in_place():
    model = attended()
    result = run(model)
    assert result.model.model is model


def test_the_loss_falls_and_the_planted_difference_is_learned():
    train, valid = coloured([0, 1] * 30, 2, channels=1), coloured([0, 1] * 10, 2, channels=1)
    torch.manual_seed(0)
    model = attend(small_cnn(), GlobalSpatialAttention(pixel_features(train, 4)))
    result = run(model, train, valid, epochs=15, lr=2e-2)
    assert result.history[-1]["train_loss"] < 0.5 * result.history[0]["train_loss"]
    assert evaluate(result.model, valid)["accuracy"] == 1


def test_the_model_standardises_by_the_training_sets_mean_and_deviation_and_saves_them():
    brighter = ImageSet((VALID.images // 2 + 120), VALID.labels, VALID.class_names)
    result = run(valid=brighter, epochs=1)
    pixels = TRAIN.to_float()
    state = result.model.state_dict()
    assert state["mean"].item() == pytest.approx(pixels.mean().item(), abs=1e-5)
    assert state["deviation"].item() == pytest.approx(pixels.std().item(), abs=1e-5)
    standardised = (brighter.to_float() - pixels.mean()) / pixels.std()
    assert torch.allclose(result.model(brighter.to_float()), result.model.model(standardised), atol=1e-4)


def test_the_model_of_a_run_is_saved_loaded_exported_and_moved_as_one():
    result = run(epochs=2)
    x, expected = VALID.to_float(), result.model(VALID.to_float())
    buffer = io.BytesIO()
    torch.save(result.model, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=False)(x), expected)
    result.model.model.attention.freeze()
    program = torch.export.export(result.model, (x,))
    assert torch.allclose(program.module()(x), expected, atol=1e-5)
    assert result.model.to("meta")(x.to("meta")).device.type == "meta"


def test_a_run_can_be_continued_with_the_model_of_another_which_keeps_its_standardisation():
    first = run(epochs=2)
    mean = first.model.mean.clone()
    darker = ImageSet(TRAIN.images // 2, TRAIN.labels, TRAIN.class_names)
    second = run(first.model, train=darker, epochs=1)
    assert second.model is first.model
    assert torch.equal(second.model.mean, mean)


def test_black_images_only_do_not_divide_by_zero():
    black = ImageSet(torch.zeros(8, 1, 16, 16, dtype=torch.uint8), torch.arange(8) % 2, ("a", "b"))
    result = run(small_cnn(), black, black, epochs=1, batch_size=4)
    assert np.isfinite(result.history[0]["valid_loss"])


@pytest.mark.parametrize("progress", [False, True])
def test_a_bar_is_shown_only_where_it_is_wanted(progress, capfd):
    run(epochs=2, progress=progress)
    out, err = capfd.readouterr()
    assert out == ""
    assert ("valid_auroc" in err) == progress


# ---------------------------------------------------------------- what is trained, and how fast


def changes(result, reference):
    """Largest change of the weights of the CNN and of the map."""
    before = dict(reference.named_parameters())
    change = {n: (p - before[n]).abs().max().item() for n, p in result.model.model.named_parameters()}
    maps = [c for n, c in change.items() if n.startswith("attention")]
    return max(c for n, c in change.items() if n.startswith("model")), max(maps)


@pytest.mark.parametrize("at", [None, "second"])
def test_attention_lr_moves_the_weights_of_the_map_and_lr_those_of_the_cnn(at):
    cnn, weight_map = changes(run(attended(at=at), lr=1e-2, attention_lr=1e-9), attended(at=at))
    assert cnn > 1e-3
    assert weight_map < 1e-6
    cnn, weight_map = changes(run(attended(at=at), lr=1e-9, attention_lr=1e-2), attended(at=at))
    assert cnn < 1e-6
    assert weight_map > 1e-3


def test_attention_lr_moves_queries_that_ask_each_image_too():
    def asking():
        torch.manual_seed(0)
        return replace_pooling(build_backbone("small", 1, 2, 16), "small", AttentivePooling(64, 2), 2)

    def queries(**rates):
        model = run(asking(), **rates).model.model
        return next(part for part in model.modules() if isinstance(part, AttentivePooling)).query.abs().max()

    assert queries(lr=1e-2, attention_lr=1e-9) < 1e-6  # they start at zero
    assert queries(lr=1e-9, attention_lr=1e-2) > 1e-3


def test_both_rates_follow_a_cosine_from_their_start_to_zero(monkeypatch):
    rates, train_epoch = [], loop._train_epoch

    def spy(model, optimiser, *rest):
        rates.append([group["lr"] for group in optimiser.param_groups])
        return train_epoch(model, optimiser, *rest)

    monkeypatch.setattr(loop, "_train_epoch", spy)
    run(epochs=6, lr=2e-3, attention_lr=1e-2)
    cosine = (1 + np.cos(np.pi * np.arange(6) / 6)) / 2
    assert np.allclose(rates, cosine[:, None] * [2e-3, 1e-2])


def test_weight_decay_shrinks_the_weights_of_the_cnn_and_not_those_of_the_map(monkeypatch):
    """Without a gradient, AdamW multiplies by 1 - rate x decay in each of the three steps, and does nothing else."""
    loss = F.cross_entropy
    monkeypatch.setattr(loop.F, "cross_entropy", lambda *arguments: 0 * loss(*arguments))
    model = attended()
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(0.5)
    result = run(model, epochs=1, lr=1e-2, attention_lr=1e-2, weight_decay=0.5)
    for name, weight in result.model.model.named_parameters():
        expected = 0.5 if name.startswith("attention") else 0.5 * (1 - 1e-2 * 0.5) ** 3
        assert torch.allclose(weight, torch.full_like(weight, expected)), name


def test_every_image_is_seen_once_an_epoch_in_an_order_that_changes():
    class Recorder(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.seen = nn.Linear(256, 2), []

        def forward(self, x):
            if self.training:
                self.seen += [row.numpy().tobytes() for row in x.detach()]
            return self.head(x.flatten(1))

    model = Recorder()
    run(model, epochs=3)
    first, second, third = (model.seen[start : start + 24] for start in (0, 24, 48))
    assert len(set(first)) == 24
    assert set(first) == set(second) == set(third)
    assert first != second != third != first


def test_a_frozen_map_weights_and_stays_as_it_is():
    model = attended(hidden=0)
    nn.init.normal_(model.attention.classifier[0].weight, generator=torch.Generator().manual_seed(0))
    frozen = model.attention.freeze().map().clone()
    result = run(model)
    assert all(torch.equal(weight_map, frozen) for weight_map in result.maps)
    assert len(result.maps) == 4
    assert not torch.equal(result.model.model.model.head.weight, attended().model.head.weight)


def test_a_frozen_cnn_leaves_the_map_to_be_trained():
    model = attended()
    model.model.requires_grad_(False)
    result = run(model)
    cnn, weight_map = changes(result, attended())
    assert cnn == 0
    assert weight_map > 1e-3


def test_a_free_map_trains_too():
    torch.manual_seed(0)
    result = run(attend(small_cnn(), FreeMap(16)))
    assert result.maps[-1].std() > 1e-4


def test_three_classes_in_colour():
    image_set = coloured([0, 1, 2] * 6, 3)
    torch.manual_seed(0)
    model = attend(small_cnn(3, 3), GlobalSpatialAttention(pixel_features(image_set, 5)))
    result = run(model, image_set, image_set, epochs=2)
    assert result.model(image_set.to_float()).shape == (18, 3)
    assert set(evaluate(result.model, image_set)) == {"accuracy", "auroc", "loss"}


@pytest.mark.parametrize(("count", "batch_size"), [(25, 8), (24, 8), (26, 8), (9, 8), (24, 100), (3, 2)])
def test_a_last_batch_of_one_image_does_not_stop_batch_norm(count, batch_size):
    train = make_phantom("phantom-chest", count, 16)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    assert len(run(model, train, batch_size=batch_size).history) == 4


# ---------------------------------------------------------------- one seed, one result


@pytest.mark.parametrize("at", [None, "second"])
def test_one_seed_repeats_a_run_bit_for_bit(at):
    one, two = run(attended(at=at)), run(attended(at=at))
    assert same_run(one, two)


def test_the_global_random_state_does_not_matter(uninterrupted):
    model = attended()
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002
    assert same_run(run(model), uninterrupted)


def test_another_seed_gives_another_run_from_the_same_initial_weights(uninterrupted):
    other = run(seed=4)
    assert not same_run(other, uninterrupted)
    assert [row["train_loss"] for row in other.history] != [row["train_loss"] for row in uninterrupted.history]


@pytest.mark.usefixtures("unchecked")  # beartype draws which items of a list it looks at
def test_the_global_random_states_are_left_as_they_were(tmp_path):
    model = attended()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    run(model, checkpoint_dir=tmp_path)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002


# ---------------------------------------------------------------- what is refused


class Fixed(nn.Module):
    """Logits that are a fixed function of the image; optionally other ones, or NaN, in one of the modes."""

    def __init__(self, scale=1.0, classes=2, train_factor=1.0, valid_factor=1.0):
        super().__init__()
        self.head = nn.Linear(256, classes)
        self.register_buffer("scale", torch.tensor(scale))
        self.factors = {True: train_factor, False: valid_factor}
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(classes, 256, generator=random))
            self.head.bias.copy_(torch.randn(classes, generator=random))

    def forward(self, x):
        return self.scale * self.head(x.flatten(1)) * self.factors[self.training]


ONE_CLASS = ImageSet(TRAIN.images[:4], torch.zeros(4, dtype=torch.int64), ("a", "b"))
ONLY_NAME = ImageSet(TRAIN.images[:4], torch.zeros(4, dtype=torch.int64), ("a",))
LARGER = make_phantom("phantom-chest", 10, 20)
OTHER_NAMES = make_phantom("phantom-face", 10, 16)


@pytest.mark.parametrize(
    ("argument", "settings", "words"),
    [
        ("train", {"train": TRAIN.images}, ["tensor", "an ImageSet"]),
        ("valid", {"valid": None}, ["NoneType", "an ImageSet"]),
        ("train", {"train": ONE_CLASS}, ["0 b", "images of every class"]),
        ("valid", {"valid": ONE_CLASS}, ["0 b", "images of every class"]),
        ("train", {"train": ONLY_NAME}, ["4 a", "two classes"]),
        ("valid", {"valid": LARGER}, ["1 x 20 x 20", "1 x 16 x 16"]),
        ("valid", {"valid": OTHER_NAMES}, ["smiling", "opacity"]),
        ("epochs", {"epochs": 0}, ["got 0", "at least 1"]),
        ("epochs", {"epochs": 2.0}, ["got 2.0"]),
        ("batch_size", {"batch_size": 1}, ["got 1", "at least 2"]),
        ("batch_size", {"batch_size": "8"}, ["got '8'"]),
        ("lr", {"lr": 0}, ["got 0", "positive"]),
        ("lr", {"lr": float("nan")}, ["got nan"]),
        ("lr", {"lr": True}, ["got True", "positive"]),
        ("attention_lr", {"attention_lr": -1e-3}, ["got -0.001"]),
        ("weight_decay", {"weight_decay": -1e-3}, ["got -0.001", "0 or a positive number"]),
        ("weight_decay", {"weight_decay": float("nan")}, ["got nan"]),
        ("weight_decay", {"weight_decay": True}, ["got True"]),
        ("keep", {"keep": "auc"}, ["got 'auc'", "last, loss, auroc", "did you mean 'auroc'"]),
        ("keep", {"keep": None}, ["got None", "last, loss, auroc"]),
        ("seed", {"seed": -1}, ["got -1"]),
        ("seed", {"seed": 0.5}, ["got 0.5"]),
        ("seed", {"seed": 2**32}, ["got 4294967296", "below 2**32"]),
        ("model", {"model": nn.Sequential(nn.Flatten(), nn.Softmax(1))}, ["no weights", "something to train"]),
        ("model", {"model": small_cnn().requires_grad_(False)}, ["no weights", "something to train"]),
    ],
)
def test_a_wrong_argument_of_fit_is_refused_by_name(argument, settings, words, tmp_path):
    with pytest.raises(ValueError, match=f"^{argument}: got .*expected ") as caught:
        run(**{"model": small_cnn(), **settings}, checkpoint_dir=tmp_path / "checkpoints")
    assert all(word in str(caught.value) for word in words), caught.value
    assert not (tmp_path / "checkpoints").exists()


def test_settings_that_were_checked_are_numbers_of_python():
    settings = {"epochs": np.int64(4), "batch_size": 8, "lr": np.float32(0.5), "attention_lr": 1, "seed": np.uint8(3)}
    settings["weight_decay"] = np.float64(0.25)
    checked = check_settings(**settings)
    assert checked == settings
    assert [type(value) for value in checked.values()] == [int, int, float, int, int, float]


def test_a_model_with_too_few_outputs_is_refused_by_name():
    train, valid = coloured([0, 1, 2] * 4, 3), coloured([0, 1, 2] * 4, 3)
    with pytest.raises(ValueError, match=r"model: got outputs of shape .*2\), expected logits .*3\)"):
        run(small_cnn(3, 2), train, valid)


def test_a_map_at_a_submodule_that_is_never_called_is_an_error_and_not_a_map_that_learns_nothing():
    net = small_cnn()
    net.spare = nn.Identity()
    net.forward = lambda x: net.head(net.second(net.first(x)))
    with pytest.raises(RuntimeError, match="no gradient reaches the weight map"):
        run(attend(net, GlobalSpatialAttention(FEATURES), at="spare"))


@pytest.mark.parametrize(
    "factors",
    [{"train_factor": float("nan")}, {"train_factor": float("inf")}, {"valid_factor": float("nan")}],
    ids=["nan in training", "infinity in training", "nan in validation"],
)
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_loss_that_is_no_number_stops_the_run_with_a_hint(factors, epochs, tmp_path):
    with pytest.raises(RuntimeError, match="loss is not a number in epoch 0; a lower lr may help"):
        run(Fixed(**factors), epochs=epochs, checkpoint_dir=tmp_path)
    assert not list(tmp_path.glob("*.pt*"))


# ---------------------------------------------------------------- evaluate


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_evaluate_equals_scikit_learn_on_the_same_logits(classes, scale):
    """Also for a very confident model, whose probabilities are 1 to the last bit for many images."""
    random = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (90, 1, 16, 16), generator=random).to(torch.uint8)
    image_set = ImageSet(images, torch.arange(90) % classes, [f"class {k}" for k in range(classes)])
    model = Fixed(scale, classes).eval()
    with torch.no_grad():
        logits = model(image_set.to_float())
    truth, exact = image_set.labels.numpy(), logits.double()
    if classes == 2:
        auroc = roc_auc_score(truth, (exact[:, 1] - exact[:, 0]).numpy())
    else:
        rest = [exact[:, [k for k in range(classes) if k != c]].logsumexp(dim=1) for c in range(classes)]
        auroc = np.mean([roc_auc_score(truth == c, (exact[:, c] - rest[c]).numpy()) for c in range(classes)])
    scores = evaluate(model, image_set, batch_size=7)
    assert 0.3 < auroc < 0.7
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth, logits.argmax(dim=1)), abs=1e-6)
    assert scores["auroc"] == pytest.approx(auroc, abs=1e-6)
    assert scores["loss"] == pytest.approx(F.cross_entropy(exact, image_set.labels).item(), rel=1e-5)
    assert all(isinstance(value, float) for value in scores.values())


def test_evaluate_does_not_depend_on_its_batches():
    model = Fixed().eval()
    one, two = evaluate(model, VALID, batch_size=1), evaluate(model, VALID, batch_size=1000)
    assert one == pytest.approx(two, abs=1e-6)


def modes(model):
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("prepare", [lambda m: m.train(), lambda m: m.eval(), lambda m: m.train().first.eval()])
def test_evaluate_leaves_every_part_in_the_mode_it_came_in(prepare):
    model = small_cnn()
    prepare(model)
    before, statistics = modes(model), model.first[1].running_mean.clone()
    evaluate(model, VALID)
    assert modes(model) == before
    assert torch.equal(model.first[1].running_mean, statistics)


def test_evaluate_leaves_the_mode_also_where_the_model_fails():
    model = small_cnn(channels=3).train()
    with pytest.raises(RuntimeError):
        evaluate(model, VALID)
    assert all(modes(model))


def test_evaluate_uses_no_dropout():
    model = small_cnn().train()
    assert evaluate(model, VALID) == evaluate(model, VALID)


def test_evaluate_leaves_weights_that_can_still_be_trained():
    model = attended()
    evaluate(model, VALID)
    model(VALID.to_float()).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_evaluate_refuses_a_set_without_images_of_some_class():
    with pytest.raises(ValueError, match="image_set: got .*0 b.*expected an ImageSet with images of every class"):
        evaluate(Fixed(), ONE_CLASS)


def test_evaluate_refuses_outputs_that_are_no_logits_of_the_classes():
    for model in (Fixed(classes=3), nn.Sequential(nn.Flatten(), nn.Linear(256, 1)), nn.Identity()):
        with pytest.raises(ValueError, match=r"model: got outputs of shape .*, expected logits \(14, 2\)"):
            evaluate(model, VALID)


# ---------------------------------------------------------------- mixed precision

BF16 = """
import copy, io, sys
sys.path.insert(0, {folder!r})
import torch
import small_runs as t
model = t.attended(at="second")
inside = []
model.model.second.register_forward_pre_hook(lambda module, args: inside.append(args[0].dtype))
result = t.run(model)
during = set(inside)
assert during == {{torch.bfloat16}}, during
inside.clear()
logits = result.model(t.VALID.to_float())
assert logits.dtype == torch.float32, logits.dtype
assert set(inside) == {{torch.float32}}, inside
assert all(weight_map.dtype == torch.float32 for weight_map in result.maps)
assert all(value.dtype != torch.bfloat16 for value in result.model.state_dict().values())
assert all(row["valid_loss"] == row["valid_loss"] for row in result.history)
assert torch.equal(copy.deepcopy(result.model)(t.VALID.to_float()), logits)
model.model.second._forward_pre_hooks.popitem()  # a lambda can't be pickled
torch.save(result.model, io.BytesIO())
again = t.run(result.model, epochs=1)
assert again.model(t.VALID.to_float()).dtype == torch.float32
print("all of it held")
"""


def test_bf16_by_the_environment_trains_in_bf16_and_returns_a_float32_model():
    """Slow (6 s) because accelerate reads its precision once a process."""
    result = subprocess.run(
        [sys.executable, "-c", BF16.format(folder=str(Path(__file__).parent))],
        cwd=ROOT,
        env={**os.environ, "ACCELERATE_MIXED_PRECISION": "bf16"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "all of it held\n"


def test_a_precision_asked_for_too_late_is_an_error_and_not_ignored(monkeypatch):
    run(epochs=1)  # accelerate reads its precision once a process
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(
        RuntimeError, match="ACCELERATE_MIXED_PRECISION is bf16, but accelerate has been started with no"
    ):
        run(epochs=1)
