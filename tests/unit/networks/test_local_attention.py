"""The local peers inside the four CNNs."""

import pytest
import torch
from torch import nn

from gsa_utils import build_backbone
from gsa_utils.networks.backbones import FAMILIES
from gsa_utils.networks.local_attention import PEERS, add_local_attention, spatial_gates

# how many there are: one a residual block, inception module, rectified convolution or dense block
COUNTS = {"small": 3, "googlenet": 9, "vgg": 8, "resnet": 8, "densenet": 3}


@pytest.mark.parametrize("backbone", COUNTS)
@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_sits_at_each_of_its_places_and_learns(backbone, peer):
    torch.manual_seed(0)
    plain = build_backbone(backbone, 1, 2, 16)
    before = sum(p.numel() for p in plain.parameters())
    statistics = [b.clone() for b in plain.buffers()]
    model = add_local_attention(plain, backbone, peer)
    kind = {"cbam": "CbamModule", "se": "SEModule", "eca": "EcaModule", "global-context": "GlobalContext"}[peer]
    modules = [module for module in model.modules() if type(module).__name__ == kind]
    assert len(modules) == COUNTS[backbone]
    assert sum(p.numel() for p in model.parameters()) > before
    # the trial image that found the channels has left no trace
    kept = [b for name, b in model.named_buffers() if not any(part in name for part in ("spatial", "channel"))]
    assert all(torch.equal(a, b) for a, b in zip(statistics, kept, strict=True))
    model.train()
    model(torch.randn(4, 1, 16, 16)).sum().backward()
    for module in modules:
        assert all(p.grad is not None for p in module.parameters())


def test_in_a_residual_block_the_peer_weights_the_branch_before_the_addition():
    model = add_local_attention(build_backbone("resnet", 1, 2, 16), "resnet", "se").eval()
    block = model.layer1[0]
    for p in block.bn2[1].fc2.parameters():  # gates of 1/2 everywhere
        nn.init.zeros_(p)
    x = torch.rand(2, 64, 8, 8)
    branch = block.bn2[0](block.conv2(block.relu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), torch.relu(x + branch / 2))


def test_only_cbam_has_spatial_gates():
    models = {peer: add_local_attention(build_backbone("small", 1, 2, 16), "small", peer) for peer in PEERS}
    gates = {peer: len(spatial_gates(model)) for peer, model in models.items()}
    assert gates == {"cbam": 3, "se": 0, "eca": 0, "global-context": 0}


def test_unknown_names_are_refused():
    model = build_backbone("small", 1, 2, 16)
    with pytest.raises(ValueError, match="peer: got 'bam', expected one of cbam, se, eca, global-context"):
        add_local_attention(model, "small", "bam")
    with pytest.raises(ValueError, match="backbone: got 'resnet50'.* did you mean 'resnet'"):
        add_local_attention(model, "resnet50", "se")


def test_every_family_has_places_for_it():
    assert sorted(FAMILIES) == sorted(COUNTS)


def test_the_trial_image_leaves_no_hook_and_the_mode_as_it_was_also_where_the_network_fails_on_it():
    model = build_backbone("small", 1, 2, 16).train()
    model[3][2] = nn.Linear(1, 2)  # of another width than what comes
    with pytest.raises(RuntimeError):
        add_local_attention(model, "small", "se")
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
