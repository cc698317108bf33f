"""U-Net++: parameter counts, the dense rows, and the four U-Nets inside."""

import pytest
import torch

from seglab.blocks import CBAM
from seglab.models import build_model


@pytest.mark.parametrize(
    ("num_classes", "knobs", "count"),
    [
        (1, {}, 9_163_329),
        (1, {"deep_supervision": True}, 9_163_428),
        (2, {}, 9_163_329 + 33),
    ],
)
def test_parameters_are_the_published_number(num_classes: int, knobs: dict[str, object], count: int) -> None:
    with torch.device("meta"):  # counting needs no memory
        model = build_model("unetplusplus", num_classes, **knobs)
    assert sum(p.numel() for p in model.parameters()) == count


def test_the_outermost_nodes_are_the_plain_unet_of_the_same_family() -> None:
    """Counted by hand: encoder, then four blocks of the plain U-Net, then its head."""
    with torch.device("meta"):
        net = build_model("unetplusplus", 1).net
    widths = [32, 64, 128, 256, 512]
    plain = sum(p.numel() for p in net.encoder.parameters()) + 33
    for fine, deep in zip(widths, widths[1:], strict=False):
        plain += 9 * (fine + deep) * fine + 9 * fine * fine + 2 * fine + 4 * fine
    assert plain == 7_852_545


def test_every_node_joins_its_whole_row_and_the_node_below() -> None:
    with torch.device("meta"):
        net = build_model("unetplusplus", 1).net
    joined = [[node.block[0].in_channels for node in column] for column in net.columns]
    assert joined == [
        [32 + 64, 64 + 128, 128 + 256, 256 + 512],
        [2 * 32 + 64, 2 * 64 + 128, 2 * 128 + 256],
        [3 * 32 + 64, 3 * 64 + 128],
        [4 * 32 + 64],
    ]


def test_nodes_have_the_size_and_width_of_their_row() -> None:
    net, shapes = build_model("unetplusplus", 2, width=4).net.eval(), []
    for part in [*net.encoder, *(node for column in net.columns for node in column)]:
        part.register_forward_hook(lambda _module, _inputs, out: shapes.append(tuple(out.shape[1:])))
    net(torch.rand(1, 3, 64, 32))
    rows = [(4, 64, 32), (8, 32, 16), (16, 16, 8), (32, 8, 4), (64, 4, 2)]
    assert shapes == rows + rows[:4] + rows[:3] + rows[:2] + rows[:1]


def test_each_head_is_a_unet_of_its_own_depth() -> None:
    """The paper's pruning: the output of the U-Net of depth d needs no encoder stage deeper than d."""
    net = build_model("unetplusplus", 1, width=4, deep_supervision=True).net.train()
    for depth, logits in zip((4, 3, 2, 1), net(torch.rand(2, 3, 32, 32)), strict=True):
        gradients = torch.autograd.grad(
            logits.sum(), [stage[0].weight for stage in net.encoder], retain_graph=True, allow_unused=True
        )
        assert [gradient is not None for gradient in gradients] == [stage <= depth for stage in range(5)]


def test_deep_supervision_returns_four_maps_of_the_pictures_size_in_training() -> None:
    model = build_model("unetplusplus", 3, width=4, deep_supervision=True).train()
    assert [each.shape for each in model(torch.rand(2, 3, 33, 47))] == [(2, 3, 33, 47)] * 4
    plain = build_model("unetplusplus", 3, width=4).train()
    assert plain(torch.rand(2, 3, 33, 47)).shape == (2, 3, 33, 47)


def heads_and_result(average: bool) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Logits of each head, shallowest first, and what the network returns in evaluation mode."""
    torch.manual_seed(0)
    net = build_model("unetplusplus", 2, width=4, deep_supervision=True, average=average).net.eval()
    with torch.no_grad():
        picture = torch.rand(1, 3, 32, 48)
        nodes: list[torch.Tensor] = []
        for column in net.columns:
            column[0].register_forward_hook(lambda _module, _inputs, out: nodes.append(out))
        result = net(picture)
        return [head(node) for head, node in zip(net.heads, nodes, strict=True)], result


def test_evaluation_returns_the_deepest_head() -> None:
    logits, result = heads_and_result(average=False)
    torch.testing.assert_close(result, logits[-1])
    assert not torch.allclose(logits[0], logits[-1])


def test_average_returns_the_mean_of_the_heads() -> None:
    logits, result = heads_and_result(average=True)
    torch.testing.assert_close(result, sum(logits) / 4)


def test_the_deepest_head_comes_first_in_training() -> None:
    torch.manual_seed(0)
    net = build_model("unetplusplus", 2, width=4, deep_supervision=True).net.train()
    deepest: list[torch.Tensor] = []
    net.heads[-1].register_forward_hook(lambda _module, _inputs, out: deepest.append(out))
    assert torch.equal(net(torch.rand(2, 3, 32, 32))[0], deepest[0])


@pytest.mark.parametrize(("place", "count"), [("encoder", 4), ("bottleneck", 1), ("skip", 4), ("decoder", 10)])
def test_cbam_sits_where_it_is_asked_for(place: str, count: int) -> None:
    model = build_model("unetplusplus", 1, width=4, cbam=place)
    assert sum(isinstance(module, CBAM) for module in model.modules()) == count


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"width": 3}, "width must be an integer of at least 4; got 3"),
        ({"width": True}, "width must be an integer of at least 4; got True"),
        ({"average": True}, "average must be False without deep_supervision; got True"),
        ({"cbam": "head"}, "cbam must be one of bottleneck, decoder, encoder, skip; got 'head'"),
    ],
)
def test_wrong_knobs_are_named(knobs: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_model("unetplusplus", 2, **knobs)
