"""The weight map: where it starts, what it does to activations, and that freezing, saving, copying, compiling and
exporting never change what a model computes without saying so."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from gsa_utils.attended import attend
from gsa_utils.attention import FreeMap, GlobalPooling, GlobalSpatialAttention

HEIGHT, WIDTH = 6, 8


def features(count=4, seed=0, height=HEIGHT, width=WIDTH):
    return torch.randn(1, count, height, width, generator=torch.Generator().manual_seed(seed))


def randomised(module, seed=0):
    """As after some training: the last layers start at zero, and a map of equal weights would hide most mistakes."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=random))
    return module


KINDS = {
    "logistic": lambda seed=0: GlobalSpatialAttention(features(seed=seed), hidden=0),
    "mlp": lambda seed=0: GlobalSpatialAttention(features(seed=seed), hidden=5),
    "pixel cnn": lambda seed=0: GlobalSpatialAttention(features(seed=seed), hidden=5, kernel_size=3),
    "wide logistic": lambda seed=0: GlobalSpatialAttention(features(seed=seed), hidden=0, kernel_size=5),
    "free": lambda seed=0: FreeMap((HEIGHT, WIDTH)),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind, seed=0):
    return randomised(KINDS[kind](seed), seed)


def images(count=3, channels=2, height=HEIGHT, width=WIDTH):
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(9))


def small_cnn(seed=0):
    torch.manual_seed(seed)
    stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    net = nn.Sequential()
    net.stem, net.layer1 = stem, nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
    net.pool, net.flat, net.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    return net


PLACES = pytest.mark.parametrize("at", [None, "layer1", "stem.3"])


def attended(kind="mlp", at=None, seed=0):
    return attend(small_cnn(seed), make(kind, seed), at).eval()


# ---------------------------------------------------------------- the map


@every_kind
def test_every_map_starts_as_one_everywhere_and_changes_no_activation(kind):
    attention = KINDS[kind]()
    assert torch.equal(attention.map(), torch.ones(HEIGHT, WIDTH))
    assert torch.equal(attention(images()), images())


@every_kind
def test_a_map_is_the_sigmoid_of_its_logits_divided_by_its_mean(kind):
    attention = make(kind)
    important = 1 / (1 + torch.exp(-attention.logits()))
    assert torch.allclose(attention.map(), important / important.mean(), atol=1e-6)
    assert attention.map().mean().item() == pytest.approx(1, abs=1e-6)


@every_kind
def test_the_map_that_is_shown_is_the_map_that_weights_every_image_and_channel(kind):
    attention = make(kind)
    weight_map = attention.map()
    assert weight_map.shape == (HEIGHT, WIDTH)
    assert 0 < weight_map.min() < 1 < weight_map.max()
    for channels in (1, 2, 5):
        x = images(channels=channels)
        assert torch.equal(attention(x), x * weight_map)


def test_a_one_by_one_classifier_is_a_classifier_of_rows_of_the_data_matrix():
    attention = make("mlp")
    rows = attention.features.flatten(2)[0].T  # (P, K): pixels are samples
    first, _, last = attention.classifier
    by_hand = F.relu(rows @ first.weight[:, :, 0, 0].T + first.bias) @ last.weight[0, :, 0, 0] + last.bias
    assert torch.allclose(attention.logits().flatten(), by_hand, atol=1e-5)


def test_the_classifier_of_pixels_alone_treats_equal_pixels_alike_wherever_they_are():
    shuffle = torch.randperm(HEIGHT * WIDTH, generator=torch.Generator().manual_seed(1))
    shuffled = features().flatten(2)[..., shuffle].reshape(1, -1, HEIGHT, WIDTH)
    for hidden in (0, 5):
        plain = randomised(GlobalSpatialAttention(features(), hidden))
        moved = randomised(GlobalSpatialAttention(shuffled, hidden))
        assert torch.allclose(moved.map().flatten(), plain.map().flatten()[shuffle], atol=1e-6)


def test_a_wider_kernel_sees_the_neighbours_and_no_further():
    for hidden in (0, 5):
        one = randomised(GlobalSpatialAttention(features(), hidden, kernel_size=3))
        changed = features()
        changed[0, :, 2, 3] += 1
        two = randomised(GlobalSpatialAttention(changed, hidden, kernel_size=3))
        differs = one.logits() != two.logits()
        near = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        near[1:4, 2:5] = True
        assert torch.equal(differs, near)


def test_a_uniform_picture_of_features_gives_a_uniform_map_up_to_the_border():
    same_everywhere = features()[..., :1, :1].expand(1, 4, HEIGHT, WIDTH)
    for hidden in (0, 5):
        weight_map = randomised(GlobalSpatialAttention(same_everywhere, hidden, kernel_size=3)).map()
        assert torch.allclose(weight_map, weight_map[0, 0].expand_as(weight_map), atol=1e-6)


def test_a_large_or_small_free_map_can_be_asked_for_by_one_number():
    assert FreeMap(3).map().shape == (3, 3)
    assert FreeMap((3, 5)).map().shape == (3, 5)


# ---------------------------------------------------------------- several maps, and pooling under them

SEVERAL = {
    "logistic": lambda: GlobalSpatialAttention(features(), hidden=0, maps=3),
    "mlp": lambda: GlobalSpatialAttention(features(), hidden=5, maps=3),
    "pixel cnn": lambda: GlobalSpatialAttention(features(), hidden=5, kernel_size=3, maps=3),
    "free": lambda: FreeMap((HEIGHT, WIDTH), maps=3),
}
several = pytest.mark.parametrize("kind", SEVERAL)


@several
def test_of_several_maps_each_weights_its_share_of_the_channels(kind):
    attention, x = randomised(SEVERAL[kind]()), images(channels=6)
    maps = attention.map()
    assert maps.shape == (3, HEIGHT, WIDTH)
    assert torch.allclose(maps.mean(dim=(1, 2)), torch.ones(3), atol=1e-6)
    assert not torch.allclose(maps[0], maps[1])
    assert torch.equal(attention(x), torch.cat([x[:, :2] * maps[0], x[:, 2:4] * maps[1], x[:, 4:] * maps[2]], dim=1))


def test_channels_that_cannot_be_shared_out_evenly_are_refused():
    with pytest.raises(ValueError, match="x: got 4 channels, expected a multiple of 3, the number of maps"):
        SEVERAL["mlp"]()(images(channels=4))


@pytest.mark.parametrize("maps", [0, -1, 1.5, True, None])
@pytest.mark.parametrize(
    "make", [lambda maps: FreeMap(4, maps), lambda maps: GlobalSpatialAttention(features(), maps=maps)]
)
def test_a_number_of_maps_that_is_none_is_refused_by_name(make, maps):
    with pytest.raises(ValueError, match="maps: got"):
        make(maps)


@several
def test_several_maps_freeze_and_load_as_one_does(kind):
    attention, x = randomised(SEVERAL[kind]()), images(channels=3)
    before = attention(x).detach()
    frozen = SEVERAL[kind]()
    frozen.load_state_dict(attention.freeze().state_dict())
    assert frozen.frozen
    assert torch.equal(frozen(x), before)


@every_kind
def test_pooling_starts_as_the_plain_average(kind):
    x = images(channels=4)
    pooled = GlobalPooling(KINDS[kind]())(x)
    assert torch.allclose(pooled, x.mean(dim=(2, 3)), atol=1e-6)


@several
def test_pooling_gives_the_weighted_averages_of_all_channels_map_by_map(kind):
    attention, x = randomised(SEVERAL[kind]()), images(channels=4)
    pooled = GlobalPooling(attention)(x)
    by_hand = [(x * one).sum(dim=(2, 3)) / one.sum() for one in attention.map()]
    assert pooled.shape == (3, 12)
    assert torch.allclose(pooled, torch.cat(by_hand, dim=1), atol=1e-5)


def test_pooling_does_not_change_when_a_map_is_rescaled():
    halved = GlobalPooling(make("free").freeze())
    halved.attention.frozen_map /= 2
    assert torch.allclose(halved(images()), GlobalPooling(make("free"))(images()), atol=1e-6)


@several
def test_pooling_of_coarser_and_finer_activations_weights_them_by_the_resized_maps(kind):
    attention = randomised(SEVERAL[kind]())
    for size in ((3, 4), (12, 16)):
        x = images(height=size[0], width=size[1])
        weight = attention.resized(size)
        by_hand = torch.stack([(x * one).sum(dim=(2, 3)) / one.sum() for one in weight], dim=1).flatten(1)
        assert torch.allclose(GlobalPooling(attention)(x), by_hand, atol=1e-5)


def test_pooling_takes_the_place_of_a_networks_average_and_its_maps_learn():
    model = small_cnn()
    plain = model.eval()(images())
    model.pool = GlobalPooling(GlobalSpatialAttention(features(height=3, width=4)))
    assert torch.allclose(model(images()), plain, atol=1e-6)
    model(images())[:, 0].sum().backward()
    assert model.pool.attention.classifier[-1].weight.grad.any()


@pytest.mark.parametrize("x", [torch.ones(3, 4, 5), torch.ones(1, 2, 3, 4, dtype=torch.int64), [[1.0]]], ids=str)
def test_pooling_refuses_what_are_no_activations(x):
    with pytest.raises(ValueError, match=r"x: got .* expected floating-point activations"):
        GlobalPooling(make("free"))(x)


# ---------------------------------------------------------------- activations of other sizes


@every_kind
@pytest.mark.parametrize("size", [(3, 4), (2, 2), (1, 1), (12, 16), (9, 20), (6, 4), (3, 16), (5, 7)], ids=str)
def test_a_map_of_another_size_is_resized_to_the_activations(kind, size):
    attention = make(kind)
    x = images(height=size[0], width=size[1])
    weights = attention(x) / x
    assert weights.shape == x.shape
    assert torch.allclose(weights, weights[:1, :1].expand_as(weights), atol=1e-5)  # one map for all
    low, high = attention.map().aminmax()
    assert low - 1e-5 <= weights.min() <= weights.max() <= high + 1e-5


def test_where_activations_are_coarser_the_map_is_averaged():
    attention = make("mlp")
    cells = attention.map().reshape(3, 2, 4, 2).mean(dim=(1, 3))  # 2 x 2 pixels a cell
    assert torch.allclose(attention(torch.ones(1, 1, 3, 4))[0, 0], cells, atol=1e-6)
    assert torch.allclose(attention(torch.ones(1, 1, 1, 1)).squeeze(), attention.map().mean(), atol=1e-6)


def test_where_activations_are_finer_the_map_is_interpolated_between_its_pixels():
    attention = make("mlp")
    fine = attention(torch.ones(1, 1, 3 * HEIGHT, 3 * WIDTH))[0, 0]
    assert torch.allclose(fine[1::3, 1::3], attention.map(), atol=1e-6)  # the middle of every pixel
    halfway = fine[1, 1] + (fine[1, 4] - fine[1, 1]) / 3
    assert torch.allclose(fine[1, 2], halfway, atol=1e-6)


@every_kind
def test_a_resized_map_still_learns_at_every_pixel(kind):
    for size in ((3, 4), (12, 16)):
        attention = make(kind)
        attention(torch.ones(1, 1, *size)).sum().backward()
        assert all(weight.grad is not None and weight.grad.any() for weight in attention.parameters())


# ---------------------------------------------------------------- gradients


@every_kind
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (3, 4), (7, 9)], ids=str)
def test_gradients_of_the_classifier_equal_finite_differences(kind, size):
    attention = make(kind).double()
    names, weights = zip(*attention.named_parameters(), strict=True)
    x = images(height=size[0], width=size[1]).double()

    def weighted(*values):
        return functional_call(attention, dict(zip(names, values, strict=True)), (x,))

    free = [weight.detach().clone().requires_grad_() for weight in weights]
    assert torch.autograd.gradcheck(weighted, free)


@every_kind
def test_gradients_reach_the_images_too(kind):
    attention, x = make(kind), images().requires_grad_()
    attention(x).sum().backward()
    assert torch.allclose(x.grad, attention.map().expand_as(x))


def test_features_are_data_and_not_learned():
    attention = GlobalSpatialAttention(features())
    assert "features" in dict(attention.named_buffers())
    assert not any("features" in name for name, _ in attention.named_parameters())


def test_the_tensor_of_features_stays_the_callers_own():
    """Two maps made of one tensor, of which one loads other features, must not change each other."""
    shared = features()
    one, two = GlobalSpatialAttention(shared), GlobalSpatialAttention(shared)
    two.load_state_dict(GlobalSpatialAttention(features(seed=1)).state_dict())
    assert torch.equal(shared, features())
    assert torch.equal(one.features, features())
    assert torch.equal(two.features, features(seed=1))


# ---------------------------------------------------------------- freezing


@every_kind
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (3, 4), (9, 20)], ids=str)
def test_freezing_changes_no_output_and_leaves_nothing_to_train_and_less_to_store(kind, size):
    attention = make(kind)
    x = images(height=size[0], width=size[1])
    before, weight_map, stored = attention(x).detach(), attention.map().detach(), len(saved(attention))
    assert not attention.frozen
    assert attention.freeze() is attention
    assert attention.frozen
    assert torch.equal(attention(x), before)
    assert torch.equal(attention.map(), weight_map)
    assert not attention.map().requires_grad
    assert list(attention.parameters()) == []
    assert list(attention.state_dict()) == ["frozen_map"]
    assert kind == "free" or len(saved(attention)) < stored


@every_kind
def test_freezing_twice_is_freezing_once(kind):
    attention = make(kind).freeze()
    weight_map = attention.map().clone()
    assert torch.equal(attention.freeze().map(), weight_map)


def test_a_frozen_map_is_a_constant_but_gradients_still_pass_to_the_images():
    attention, x = make("mlp").freeze(), images().requires_grad_()
    attention(x).sum().backward()
    assert torch.allclose(x.grad, attention.map().expand_as(x))


# Compared to 1e-6 and not bit for bit: a convolution may sum in another order for another number of images. What the
# map itself does is compared bit for bit.
@PLACES
@every_kind
def test_a_frozen_model_predicts_the_same_alone_in_a_batch_and_in_a_shuffled_batch(kind, at):
    model = attended(kind, at)
    model.attention.freeze()
    x = images(count=16)
    shuffle = torch.randperm(16, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        together, shuffled = model(x), model(x[shuffle])
        alone = torch.cat([model(image[None]) for image in x])
        assert torch.allclose(alone, together, rtol=0, atol=1e-6)
        assert torch.allclose(shuffled, together[shuffle], rtol=0, atol=1e-6)
        assert together.std(dim=0).min() > 1e-4  # and images do differ in their predictions
        weighted = model.attention(x)
        assert all(torch.equal(model.attention(image[None])[0], w) for image, w in zip(x, weighted, strict=True))


# ---------------------------------------------------------------- saving, loading, copying


def saved(thing):
    buffer = io.BytesIO()
    torch.save(thing.state_dict() if isinstance(thing, nn.Module) else thing, buffer)
    return buffer.getvalue()


def reloaded(module):
    return torch.load(io.BytesIO(saved(module)), weights_only=True)


@every_kind
def test_a_trainable_map_loads_into_a_trainable_one(kind):
    source, target = make(kind), make(kind, seed=1)
    target.load_state_dict(reloaded(source))
    assert torch.equal(target.map(), source.map())
    assert not target.frozen
    assert target.map().requires_grad


@every_kind
def test_a_frozen_map_loads_into_a_trainable_one_which_is_frozen_then(kind):
    source, target = make(kind).freeze(), make(kind, seed=1)
    target.load_state_dict(reloaded(source))
    assert target.frozen
    assert torch.equal(target.map(), source.map())
    assert list(target.parameters()) == []


@every_kind
def test_a_frozen_map_loads_into_a_frozen_one(kind):
    source, target = make(kind).freeze(), make(kind, seed=1).freeze()
    target.load_state_dict(reloaded(source))
    assert torch.equal(target.map(), source.map())


@every_kind
@pytest.mark.parametrize("strict", [True, False])
def test_a_trainable_map_does_not_load_into_a_frozen_one_and_says_why(kind, strict):
    source, target = make(kind), make(kind, seed=1).freeze()
    weight_map = target.map().clone()
    with pytest.raises(RuntimeError, match="still trainable, but this module was frozen.*new, unfrozen module"):
        target.load_state_dict(reloaded(source), strict=strict)
    assert torch.equal(target.map(), weight_map)


@PLACES
@every_kind
@pytest.mark.parametrize("strict", [True, False])
def test_inside_an_attended_model_the_same_holds(kind, at, strict):
    source, target = attended(kind, at), attended(kind, at, seed=1)
    x = images()
    target.load_state_dict(reloaded(source), strict=strict)
    assert torch.equal(target(x), source(x))
    trainable = reloaded(source)
    source.attention.freeze()
    target = attended(kind, at, seed=1)
    target.load_state_dict(reloaded(source), strict=strict)
    assert target.attention.frozen
    assert torch.equal(target(x), source(x))
    with pytest.raises(RuntimeError, match="attention: the saved map is still trainable"):
        target.load_state_dict(trainable, strict=strict)


@every_kind
@pytest.mark.parametrize("strict", [True, False])
def test_a_frozen_map_of_another_size_is_refused_and_the_classifier_stays(kind, strict):
    other = FreeMap((HEIGHT + 1, WIDTH)).freeze()
    target = make(kind)
    weight_map = target.map().detach()
    with pytest.raises(RuntimeError, match=r"size mismatch for frozen_map: saved \(7, 8\), here \(6, 8\)"):
        target.load_state_dict(reloaded(other), strict=strict)
    assert not target.frozen
    assert torch.equal(target.map(), weight_map)


def of_version(number, state):
    """The state as that version of the maps would have saved it; None: without a word of versions, as safetensors."""
    if number is None:
        return dict(state)
    for entry in state._metadata.values():
        entry["version"] = number
    return state


@PLACES
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_map_of_the_first_version_is_refused_by_name(frozen, strict, at):
    """Its network was trained behind weights that were not divided by their mean, and would answer otherwise."""
    source, target = attended("mlp", at), attended("mlp", at, seed=1)
    if frozen:
        source.attention.freeze()
    with pytest.raises(RuntimeError, match="attention: saved by an earlier version, .* not divided by their mean"):
        target.load_state_dict(of_version(1, reloaded(source)), strict=strict)
    assert not target.attention.frozen
    with pytest.raises(RuntimeError, match="FreeMap: saved by an earlier version"):
        make("free").load_state_dict(of_version(1, reloaded(make("free"))), strict=strict)


@every_kind
@pytest.mark.parametrize("version", [None, 2])
def test_a_state_of_today_and_one_without_a_version_are_loaded(version, kind):
    source, target = attended(kind, "layer1"), attended(kind, "layer1", seed=1)
    target.load_state_dict(of_version(version, reloaded(source)))
    assert torch.equal(target(images()), source(images()))


@every_kind
def test_a_state_without_a_map_is_reported_as_missing_it(kind):
    for attention in (make(kind), make(kind).freeze()):
        with pytest.raises(RuntimeError, match="Missing key"):
            attention.load_state_dict({})


@PLACES
@every_kind
def test_a_deep_copy_has_a_map_of_its_own(kind, at):
    model = attended(kind, at)
    clone = copy.deepcopy(model)
    x = images()
    before = model(x)
    assert torch.equal(clone(x), before)
    randomised(clone.attention, seed=5)
    changed = clone(x)
    assert not torch.equal(changed, before)  # the copy uses the copy's map
    assert torch.equal(model(x), before)  # the original uses its own
    randomised(model.attention, seed=6)
    assert torch.equal(clone(x), changed)
    clone.attention.freeze()
    assert not model.attention.frozen


@PLACES
@every_kind
@pytest.mark.parametrize("frozen", [False, True])
def test_a_whole_model_is_saved_and_loaded_with_its_map_in_place(kind, at, frozen):
    model, x = attended(kind, at), images()
    if frozen:
        model.attention.freeze()
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert torch.equal(loaded(x), model(x))
    assert loaded.attention.frozen == frozen
    if not frozen:
        randomised(loaded.attention, seed=5)
        assert not torch.equal(loaded(x), model(x))


# ---------------------------------------------------------------- compilers, precision, layout, devices


@pytest.mark.parametrize("at", [None, "layer1"])
@pytest.mark.usefixtures("unchecked")  # torch can not look into the checks
@pytest.mark.parametrize("kind", ["pixel cnn", "free"])
def test_torch_compile_takes_the_whole_model_before_and_after_freezing(kind, at):
    torch._dynamo.reset()
    model, x = attended(kind, at), images()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), model(x))
    randomised(model.attention, seed=3)  # as a training step would
    assert torch.equal(compiled(x), model(x))
    before = model(x)
    model.attention.freeze()
    assert torch.equal(compiled(x), before)


@pytest.mark.usefixtures("unchecked")  # torch can not look into the checks
@pytest.mark.parametrize("kind", ["mlp", "free"])
def test_torch_compile_gives_the_same_gradients(kind):
    torch._dynamo.reset()
    plain, twin, x = attended(kind, "layer1"), attended(kind, "layer1"), images()
    torch.compile(twin, backend="aot_eager", fullgraph=True)(x).sum().backward()
    plain(x).sum().backward()
    for one, two in zip(plain.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one.grad, two.grad, atol=1e-6)


@pytest.mark.parametrize("at", [None, "layer1"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kind", ["pixel cnn", "free"])
def test_torch_export_takes_the_model_with_any_number_of_images(kind, frozen, at):
    model = attended(kind, at)
    if frozen:
        model.attention.freeze()
    program = torch.export.export(model, (images(),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    for count in (3, 7):
        assert torch.allclose(program.module()(images(count)), model(images(count)), atol=1e-6)
    exported = {name for name in [*program.state_dict, *program.constants] if "frozen_map" in name}
    assert bool(exported) == frozen


@every_kind
def test_under_autocast_the_map_stays_in_full_precision_and_activations_keep_their_type(kind):
    attention = make(kind)
    weight_map = attention.map()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attention.map(), weight_map)
        assert attention.map().dtype == torch.float32
        assert attention(images()).dtype == torch.float32
        assert torch.equal(attention(images()), images() * weight_map)
        low = attention(images().bfloat16())
        assert low.dtype == torch.bfloat16
        low.float().sum().backward()
        frozen = copy.deepcopy(attention).freeze()
    assert torch.equal(frozen.map(), weight_map)
    assert all(weight.grad.dtype == torch.float32 for weight in attention.parameters())


def test_under_autocast_a_middle_layer_gets_what_it_would_get_without_attention():
    seen = []
    model = attended("mlp", "layer1")
    model.model.layer1.register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images())
    assert seen == [torch.bfloat16]
    assert torch.allclose(output.float(), model(images()), atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@every_kind
def test_a_module_of_another_precision_works_before_and_after_freezing(kind, dtype):
    attention = make(kind)
    expected = attention(images())
    attention.to(dtype)
    for _ in range(2):
        for size in ((HEIGHT, WIDTH), (3, 4), (9, 20)):
            assert attention(images(height=size[0], width=size[1]).to(dtype)).dtype == dtype
        assert torch.allclose(attention(images().to(dtype)).float(), expected, atol=0.1, rtol=0.05)
        attention.freeze()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_features_of_another_precision_make_a_map_that_works(dtype):
    for hidden in (0, 5):
        attention = GlobalSpatialAttention(features().to(dtype), hidden)
        assert torch.equal(attention(images()), images())
        assert not torch.equal(randomised(attention)(images()), images())


@every_kind
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (3, 4), (9, 20)], ids=str)
def test_channels_last_stays_channels_last(kind, channels, size):
    attention = make(kind).to(memory_format=torch.channels_last)
    x = images(channels=channels, height=size[0], width=size[1])
    given = x.to(memory_format=torch.channels_last)
    for _ in range(2):
        result = attention(given)
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(result, attention(x))
        attention.freeze()


@PLACES
@every_kind
@pytest.mark.parametrize("frozen", [False, True])
def test_every_tensor_follows_its_module_to_another_device(kind, at, frozen):
    """The "meta" device holds no numbers, but an operation on it and on a tensor left on the CPU fails all the same."""
    model = attended(kind, at)
    if frozen:
        model.attention.freeze()
    model.to("meta")
    assert model(torch.empty(2, 2, HEIGHT, WIDTH, device="meta")).device.type == "meta"
    for size in ((3, 4), (9, 20)):
        assert model.attention(torch.empty(2, 4, *size, device="meta")).device.type == "meta"
    assert model.attention.map().device.type == "meta"


@pytest.mark.parametrize("hidden", [0, 32])
def test_features_may_be_a_shape_without_numbers(hidden):
    """So lesson 09 counts the operations of a million features without having them."""
    attention = GlobalSpatialAttention(torch.empty(1, 10**6, HEIGHT, WIDTH, device="meta"), hidden=hidden)
    assert attention.map().shape == (HEIGHT, WIDTH)
    assert {tensor.device.type for tensor in attention.state_dict().values()} == {"meta"}


# ---------------------------------------------------------------- attend


@PLACES
@every_kind
def test_a_network_starts_with_a_map_as_what_it_was_without(kind, at):
    expected = small_cnn().eval()(images())
    assert torch.equal(attend(small_cnn(), KINDS[kind](), at).eval()(images()), expected)


def test_at_no_place_the_images_are_weighted():
    net, attention, x = small_cnn().eval(), make("mlp"), images()
    expected = net(x * attention.map())
    assert torch.equal(attend(net, attention)(x), expected)


def test_at_a_submodule_the_activations_entering_it_are_weighted():
    net, attention, x = small_cnn().eval(), make("mlp"), images()
    activations = net.stem(x)  # (B, 4, 3, 4), half the size
    weights = attention.map().reshape(3, 2, 4, 2).mean(dim=(1, 3))
    expected = net.head(net.flat(net.pool(net.layer1(activations * weights))))
    model = attend(net, attention, at="layer1")
    assert torch.allclose(model(x), expected, atol=1e-6)
    assert not torch.allclose(model(x), attend(small_cnn().eval(), attention)(x), atol=1e-3)


def test_the_other_arguments_of_the_submodule_come_through():
    class Scaled(nn.Module):
        def forward(self, x, factor, *, shift):
            return factor * x + shift

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.scaled = Scaled()

        def forward(self, x):
            return self.scaled(x, 3, shift=5)

    attention = make("mlp")
    assert torch.allclose(attend(Net(), attention, at="scaled")(images()), 3 * images() * attention.map() + 5)


def test_a_submodule_called_by_keyword_is_weighted_or_refused_but_never_left_alone_in_silence():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.same = nn.Identity()

        def forward(self, x):
            return self.same(input=x)

    attention = make("mlp")
    with pytest.raises(RuntimeError, match=r"at='same'.*by keyword"):
        attend(Net(), attention, at="same")(images())


def test_a_second_map_can_be_attached_to_another_place():
    first, second, net, x = make("mlp"), make("free", seed=1), small_cnn().eval(), images()
    once = attend(net, second, at="layer1")
    expected = once(x * first.map())
    assert torch.allclose(attend(once, first)(x), expected, atol=1e-6)


def test_a_second_map_at_the_same_place_is_refused_as_the_first_would_belong_to_no_model():
    net = small_cnn()
    attend(net, make("mlp"), "layer1")
    with pytest.raises(ValueError, match="at: got 'layer1', expected a submodule without a map"):
        attend(net, make("free"), "layer1")


def test_any_module_from_activations_to_activations_will_do():
    net, x = small_cnn().eval(), images()
    expected = net(-x)
    negate = nn.Module()
    negate.forward = lambda x: -x
    assert torch.equal(attend(net, negate)(x), expected)


def test_both_parts_are_trained_moved_and_saved_together():
    model = attended("mlp", "layer1")
    names = {name.split(".")[0] for name in model.state_dict()}
    assert names == {"model", "attention"}
    model.train()
    model(images()).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("layer2", ["'layer2'", "did you mean 'layer1'", "stem.0"]),
        ("stem.9", ["did you mean 'stem.", "head"]),
        ("", ["''", "layer1"]),
    ],
)
def test_an_unknown_place_is_refused_with_the_nearest_names(at, words):
    with pytest.raises(ValueError, match="^at: got .*expected ") as caught:
        attend(small_cnn(), make("mlp"), at)
    assert all(word in str(caught.value) for word in words), caught.value


def test_of_many_names_the_nearest_is_still_found():
    net = nn.Sequential(*[nn.Identity() for _ in range(60)])
    net.block59 = nn.Identity()
    with pytest.raises(ValueError, match="did you mean 'block59'"):
        attend(net, make("mlp"), "block60")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("argument", "call", "words"),
    [
        ("features", lambda: GlobalSpatialAttention(features().numpy()), ["ndarray", "(1, r, H, W)"]),
        ("features", lambda: GlobalSpatialAttention(features()[0]), ["(4, 6, 8)", "(1, r, H, W)"]),
        ("features", lambda: GlobalSpatialAttention(images()), ["(3, 2, 6, 8)", "(1, r, H, W)"]),
        ("features", lambda: GlobalSpatialAttention(features()[:, :0]), ["(1, 0, 6, 8)", "(1, r, H, W)"]),
        ("features", lambda: GlobalSpatialAttention(features().byte()), ["uint8", "finite floats"]),
        ("features", lambda: GlobalSpatialAttention(features() / 0), ["finite floats"]),
        ("hidden", lambda: GlobalSpatialAttention(features(), -1), ["got -1", "0 for logistic"]),
        ("hidden", lambda: GlobalSpatialAttention(features(), 2.5), ["got 2.5"]),
        ("kernel_size", lambda: GlobalSpatialAttention(features(), kernel_size=2), ["got 2", "odd"]),
        ("kernel_size", lambda: GlobalSpatialAttention(features(), kernel_size=0), ["got 0", "odd"]),
        ("size", lambda: FreeMap(0), ["got 0", "positive"]),
        ("size", lambda: FreeMap((3, -1)), ["(3, -1)", "positive"]),
        ("x", lambda: make("mlp")(images()[0]), ["(2, 6, 8)", "(B, C, h, w)"]),
        ("x", lambda: make("mlp")(images().byte()), ["uint8", "floating-point"]),
        ("x", lambda: make("mlp")([images()]), ["list", "floating-point"]),
    ],
)
def test_a_wrong_argument_is_refused_by_name(argument, call, words):
    with pytest.raises(ValueError, match=f"^{argument}: got .*expected ") as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value


# ---------------------------------------------------------------- taking the map out again


@PLACES
def test_a_map_can_be_taken_out_again_and_another_put_in_its_place(at):
    plain = small_cnn().eval()
    expected = plain(images())
    attended = attend(plain, make("free"), at)
    assert not torch.equal(attended(images()), expected)
    assert attended.detach() is plain
    assert torch.equal(plain(images()), expected)
    assert not torch.equal(attend(plain, make("free"), at)(images()), expected)


def test_a_copy_is_detached_without_touching_the_original():
    attended = attend(small_cnn().eval(), make("free"), "layer1")
    before, copied = attended(images()), copy.deepcopy(attended)
    assert not torch.equal(copied.detach()(images()), before)
    assert torch.equal(attended(images()), before)
