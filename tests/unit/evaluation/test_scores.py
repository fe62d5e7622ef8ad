"""Every prediction goes where the model is, in evaluation mode, and leaves the model as it was."""

import contextlib

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn

from gsa_utils import build_backbone, evaluate, make_phantom, predict
from gsa_utils.evaluation import scores
from gsa_utils.evaluation.saliency import grad_cam, mean_local_map
from gsa_utils.evaluation.scores import eval_mode
from gsa_utils.networks.local_attention import add_local_attention

IMAGES = make_phantom("phantom-chest", 30, 16)


class OnDevice(Exception):
    """What a module on "meta" has been asked with."""


class Far(nn.Module):
    """Lies on the "meta" device, and refuses images from anywhere else: a GPU for machines that have none."""

    def __init__(self):
        super().__init__()
        self.model = nn.Module()
        self.model.pool = nn.Identity()
        self.weight = nn.Parameter(torch.empty(1, device="meta"))
        self.gate = nn.Module()
        self.gate.spatial = nn.Module()
        self.gate.spatial.gate = nn.Identity()

    def forward(self, x):
        assert x.device == self.weight.device, f"images on {x.device}, weights on {self.weight.device}"
        raise OnDevice


@pytest.mark.parametrize(
    "call",
    [
        lambda model: predict(model, IMAGES),
        lambda model: evaluate(model, IMAGES),
        lambda model: grad_cam(model, IMAGES, "pool"),
        lambda model: mean_local_map(model, IMAGES),
    ],
    ids=["predict", "evaluate", "grad_cam", "mean_local_map"],
)
def test_images_are_brought_to_the_device_of_the_model(call):
    with pytest.raises(OnDevice):
        call(Far())


@pytest.mark.parametrize("kind", ["none", "cbam"])
def test_the_trial_image_of_local_attention_is_on_the_device_of_the_network_too(kind):
    model = build_backbone("small", 1, 2, 16).to("meta")
    if kind == "cbam":
        model = add_local_attention(model, "small", "cbam")
    assert model(torch.empty(2, 1, 16, 16, device="meta")).shape == (2, 2)


def test_probabilities_are_the_softmax_of_the_logits_in_evaluation_mode():
    torch.manual_seed(0)
    model = nn.Sequential(build_backbone("small", 1, 3, 16), nn.Dropout(0.5)).train()
    images = make_phantom("phantom-chest", 30, 16)
    three = scores.ImageSet(images.images, torch.arange(30) % 3, ("a", "b", "c"))
    came = predict(model, three, batch_size=7)
    assert model.training
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(came, model(three.to_float()).softmax(dim=1))


def test_modes_that_were_mixed_come_back_mixed_also_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm2d(1)).train()
    model[1].eval()
    seen = []
    with contextlib.suppress(KeyError), eval_mode(model):
        seen += [module.training for module in model.modules()]
        raise KeyError
    assert seen == [False, False, False]
    assert [module.training for module in model.modules()] == [True, True, False]


class Logits(nn.Module):
    """The same logits for whatever it is shown."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return self.logits[: len(x)]


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_scores_are_those_of_scikit_learn_ties_and_sure_models_included(classes):
    generator = torch.Generator().manual_seed(classes)
    logits = (torch.randn(30, classes, generator=generator) * 60).round()  # probabilities of exactly 0 and 1
    labels = torch.arange(30) % classes
    images = scores.ImageSet(IMAGES.images, labels, tuple("abcde"[:classes]))
    came = evaluate(Logits(logits), images)
    assert came["accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert came["loss"] == pytest.approx(F.cross_entropy(logits, labels).item())
    if classes == 2:
        odds = (logits[:, 1] - logits[:, 0]).numpy()
        assert came["auroc"] == pytest.approx(roc_auc_score(labels, odds))
    else:
        rest = [torch.cat([logits[:, :c], logits[:, c + 1 :]], 1).double().logsumexp(1) for c in range(classes)]
        each = [roc_auc_score(labels == c, logits[:, c] - rest[c]) for c in range(classes)]
        assert came["auroc"] == pytest.approx(sum(each) / classes)


def test_an_infinite_logit_has_its_place_in_the_order():
    logits = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    finite = evaluate(Logits(logits), IMAGES)["auroc"]
    lowest = (logits[:, 0] - logits[:, 1]).argmin()
    logits[lowest, 0] = -torch.inf
    assert evaluate(Logits(logits), IMAGES)["auroc"] == pytest.approx(finite)


@pytest.mark.parametrize("use", [evaluate, predict])
@pytest.mark.parametrize("row", [[0, torch.nan], [torch.inf, 0], [-torch.inf, -torch.inf]])
def test_logits_that_give_no_probabilities_are_refused(use, row):
    logits = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    logits[3] = torch.tensor(row)
    with pytest.raises(ValueError, match="model: got logits that are NaN or infinite for 1 of 30 images"):
        use(Logits(logits), IMAGES)


def test_scores_of_logits_that_are_no_numbers_are_none():
    logits = torch.full((30, 2), torch.nan)
    assert all(score != score for score in scores.scores(logits, IMAGES.labels).values())


@pytest.mark.parametrize(("output", "words"), [(torch.zeros(30, 3), "outputs of shape"), ([1, 2], "list")])
def test_a_model_without_a_logit_for_each_class_is_refused(output, words):
    with pytest.raises(ValueError, match=rf"model: got {words}.*expected logits \(30, 2\)"):
        predict(Logits(output), IMAGES)
