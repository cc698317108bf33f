"""Explanations are held against networks whose gates, and what they do, are known by hand."""

import json

import numpy as np
import pytest
import scipy.stats
import torch
from small_pictures import Pictures, discs
from torch import nn

from seglab import explain
from seglab.blocks import AttentionMap, ChannelAttention
from seglab.contract import Sample
from seglab.explain._gates import Switch, find_gates, inside
from seglab.inference import Box, Predictor
from seglab.models import build_model

SIDE = 32


class Gated(nn.Module):
    """A network that says nothing but what its gate says: object where the gate is above one half."""

    num_classes, stride = 1, 1

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.gate = AttentionMap()

    def forward(self, x):
        return 40 * (self.gate(x[:, :1] * self.weight) - 0.5)


class Coloured(nn.Module):
    """A network whose gate lets only the first colour through, and that says object where what is left is bright."""

    num_classes, stride = 1, 1

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 0, 0]))
        self.gate = AttentionMap()

    def forward(self, x):
        gate = self.gate(self.weight[None, :, None, None].expand(len(x), 3, 1, 1))
        return 40 * ((x * gate).sum(dim=1, keepdim=True) - 0.5)


class Reader(nn.Module):
    """A network that reads a fixed region, 16 x 16 pixels, and whose gate is a picture's brightness or a constant."""

    num_classes, stride = 1, 1

    def __init__(self, constant=False):
        super().__init__()
        self.head = nn.Conv2d(1, 1, 1)
        self.head.weight.data.fill_(40.0)
        self.head.bias.data.fill_(-20.0)
        self.gate, self.constant = AttentionMap(), constant

    def forward(self, x):
        region = torch.zeros_like(x[:, :1])
        region[..., 8:24, 8:24] = 1
        gate = self.gate(torch.ones_like(region) if self.constant else x[:, 2:3])
        return self.head(x[:, :1] * region) + 0 * gate


def sample(mask, name="a", *, grey=255):
    """A picture that is as bright as its mask."""
    image = torch.from_numpy(mask.astype(np.uint8) * grey).expand(3, *mask.shape).contiguous()
    return Sample(image, torch.from_numpy(mask.astype(np.uint8)), name)


def square(area=16, shape=(SIDE, SIDE)):
    """A mask with a square of that side in its middle."""
    mask = np.zeros(shape, bool)
    top, left = (shape[0] - area) // 2, (shape[1] - area) // 2
    mask[top : top + area, left : left + area] = True
    return mask


def unet(**knobs):
    torch.manual_seed(0)
    return Predictor(build_model("unet", 1, width=4, **knobs), size=SIDE)


def data_of(*samples):
    return Pictures(tuple(samples))


class TestGateAblation:
    def test_a_gate_replaced_by_itself_changes_no_bit(self):
        model = unet(cbam=("encoder", "bottleneck", "skip", "decoder"))
        batch, _ = model.prepare(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
        changes = {gate.path: torch.Tensor.clone for gate in find_gates(model)}
        assert len(changes) == 26
        switch = Switch(model)
        assert torch.equal(switch.forward(batch, changes), model.forward(batch))
        assert not torch.equal(switch.forward(batch, dict.fromkeys(changes, torch.ones_like)), model.forward(batch))

    def test_a_network_that_is_its_gate_loses_what_is_known_by_hand(self):
        """A quarter of the picture is object: everything marked gives Dice 2/5; a mean gate of 1/4 marks nothing."""
        result = explain.gate_ablation(Predictor(Gated(), size=SIDE), data_of(sample(square())))
        assert result.dice.tolist() == [1.0]
        assert result.change("attention", "spatial", "one").difference.mean == pytest.approx(0.4 - 1)
        assert result.change("attention", "spatial", "mean").difference.mean == -1
        assert result.change("attention", "spatial", "mean").counts.tolist() == [[[768, 0], [256, 0]]]
        shuffled = result.change("attention", "spatial", "shuffled").counts[0]
        assert shuffled[:, 1].sum() == 256  # as many pixels are marked as before, in other places
        assert shuffled[1, 1] < 128
        assert [one.stage for one in result.changes] == ["attention"] * 3  # one gate only: neither both nor all

    def test_padding_is_no_part_of_the_mean(self):
        """0.54 of the picture is white. With the padding, grey at 0.447, the mean would fall below one half."""
        mask = np.zeros((16, 32), bool)
        mask.reshape(-1)[:276] = True
        result = explain.gate_ablation(Predictor(Gated(), size=SIDE), data_of(sample(mask)), replacements=["mean"])
        assert result.changes[0].counts.tolist() == [[[0, 236], [0, 276]]]

    def test_cells_that_show_padding_only_are_outside(self):
        assert inside((4, 4), Box(8, 0, 16, 32, 16, 32), 32)[:, 0].tolist() == [False, True, True, False]
        assert inside((3, 3), Box(15, 0, 1, 32, 1, 32), 32)[:, 0].tolist() == [False, True, False]
        assert inside((5, 5), Box(0, 0, 40, 40, 9, 9), 48)[:, 0].tolist() == [True] * 5  # 48: padded to the stride

    def test_a_channel_gate_is_averaged_over_channels(self):
        """Red at full counts 1, or 1/3 under the mean gate; white counts 3 with the gate taken away."""
        mask = square()
        red = torch.from_numpy(np.stack([mask, ~mask, ~mask]).astype(np.uint8) * 255)
        data = data_of(Sample(red, torch.from_numpy(mask.astype(np.uint8)), "a"))
        result = explain.gate_ablation(Predictor(Coloured(), size=SIDE), data)
        assert {one.kind for one in result.changes} == {"channel"}
        assert result.change("attention", "channel", "mean").counts.tolist() == [[[0, 768], [256, 0]]]  # 1/3 and 2/3
        assert result.change("attention", "channel", "one").counts.tolist() == [[[0, 768], [0, 256]]]
        assert result.change("attention", "channel", "shuffled").counts.tolist() in (
            [[[768, 0], [0, 256]]],
            [[[0, 768], [256, 0]]],
        )

    def test_every_stage_and_kind_has_its_rows(self):
        data = discs(2, (SIDE, SIDE))
        result = explain.gate_ablation(unet(cbam=("bottleneck", "skip")), data, replacements=["one", "mean"])
        assert result.stages == ("bottleneck", *(f"skip {i}" for i in range(1, 5)), "all stages")
        assert [one.kind for one in result.changes[:6:2]] == ["channel", "spatial", "both"]
        assert len(result.changes) == 6 * 3 * 2
        assert result.changes[0].counts.shape == (2, 2, 2)
        part = explain.gate_ablation(unet(cbam=("bottleneck", "skip")), data, gates=["skip 2"], replacements=["mean"])
        assert {one.stage for one in part.changes} == {"skip 2"}
        assert torch.equal(part.changes[0].counts, result.change("skip 2", "channel", "mean").counts)

    def test_both_is_not_one_and_all_stages_is_not_one_stage(self):
        """Counted with hooks of our own on the model itself."""
        model, data = unet(cbam=("skip",)), discs(1, (SIDE, SIDE))
        result = explain.gate_ablation(model, data, replacements=["one"])
        for stage, kind, wanted in (
            ("skip 1", "both", ("levels.3", "")),
            ("all stages", "spatial", ("", "spatial")),
            ("skip 3", "channel", ("levels.1", "channel")),
        ):
            handles = [
                module.register_forward_hook(lambda module, inputs, gate: torch.ones_like(gate))
                for path, module in model.model.named_modules()
                if isinstance(module, AttentionMap) and all(word in path for word in wanted)
            ]
            mask = model(data[0].image).mask
            for handle in handles:
                handle.remove()
            truth = data[0].mask.numpy()
            both = [[((truth == i) & (mask == j)).sum() for j in (0, 1)] for i in (0, 1)]
            assert result.change(stage, kind, "one").counts[0].tolist() == both
            assert len(handles) == {"both": 2, "spatial": 4, "channel": 1}[kind]

    def test_pictures_without_a_dice_are_left_out_and_counted(self):
        data = data_of(sample(square()), sample(square() & False, "empty"), sample(square(8), "small"))
        result = explain.gate_ablation(Predictor(Gated(), size=SIDE), data)
        assert np.isnan(result.dice).tolist() == [False, True, False]
        assert [one.difference.n for one in result.changes] == [2, 2, 2]
        assert "3 pictures, 1 without a Dice" in result.to_markdown()
        assert json.loads(result.to_json())["dice"] == [1, None, 1]

    def test_seeds_repeat_and_differ(self):
        model = Predictor(Gated(), size=SIDE)
        data = data_of(*[sample(square(), str(i)) for i in range(3)])
        first, again, other = (explain.gate_ablation(model, data, seed=seed) for seed in (0, 0, 1))
        assert first.to_json() == again.to_json()
        shuffled = [one.change("attention", "spatial", "shuffled").counts[:, 1, 1].tolist() for one in (first, other)]
        assert shuffled[0] != shuffled[1]
        assert len(set(shuffled[0])) > 1  # equal pictures are shuffled differently

    def test_nothing_stays_on_the_model_even_after_an_exception(self):
        class Broken(Pictures):
            def __getitem__(self, index):
                if index == 1:
                    raise OSError("gone")
                return super().__getitem__(index)

        model = unet(cbam=("skip", "bottleneck"))
        before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
        with pytest.raises(OSError, match="gone"):
            explain.faithfulness(model, Broken(discs(2, (SIDE, SIDE)).samples), step_percent=50)
        assert all(not module._forward_hooks for module in model.model.modules())
        after = model.model.state_dict()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())

    def test_a_failed_pass_leaves_no_change_behind(self):
        def refuse(gate):
            raise RuntimeError("no")

        switch = Switch(Predictor(Gated(), size=SIDE))
        with pytest.raises(RuntimeError, match="no"):
            switch.forward(torch.zeros(1, 3, SIDE, SIDE), {"gate": refuse})
        assert switch.forward(torch.zeros(1, 3, SIDE, SIDE), {}).unique().tolist() == [-20]

    def test_verdicts_follow_from_the_numbers(self):
        pictures = [sample(square(6 + 2 * (i % 5)), str(i)) for i in range(10)]
        helps = explain.gate_ablation(Predictor(Gated(), size=SIDE), data_of(*pictures))
        said = "Replacing its map by its mean changes Dice by -1.000 [-1.000, -1.000]: where it looks helps (p = 0.002 "
        assert said in helps.verdict("attention")
        one = explain.gate_ablation(Predictor(Gated(), size=SIDE), data_of(*pictures[:1]))
        assert "-1.000: too few pictures to say more (n = 1; 6 are needed for 1 questions)" in one.verdict("attention")
        still = explain.gate_ablation(Predictor(Reader(), size=SIDE), data_of(*pictures))
        assert (
            "+0.000 [0.000, 0.000]: no effect of where it looks was shown (p = 1 after Holm, n = 10; less"
            in still.verdict("attention")
        )

    def test_a_gate_that_harms_is_named(self):
        """White everywhere on the object's ground, half of it lost: a mean gate of 0.75 marks everything."""
        gates = np.ones((SIDE, SIDE), bool)
        gates[:, :8] = False
        samples = [
            Sample(torch.from_numpy(gates.astype(np.uint8) * 255).expand(3, -1, -1), torch.ones(SIDE, SIDE).byte(), n)
            for n in "abcdefghij"
        ]
        result = explain.gate_ablation(Predictor(Gated(), size=SIDE), data_of(*samples), replacements=["mean"])
        assert result.change("attention").difference.mean == pytest.approx(1 - 6 / 7)
        assert "where it looks does harm" in result.verdict("attention")

    def test_several_classes_have_the_mean_of_their_dice(self):
        torch.manual_seed(0)
        model = Predictor(build_model("unet", 3, width=4, cbam="skip"), size=SIDE)
        result = explain.gate_ablation(model, discs(2, (SIDE, SIDE), num_classes=3), replacements=["one"])
        assert result.counts.shape == (2, 3, 3)
        table = result.counts[0].double()
        each = [2 * table[k, k] / (table[k].sum() + table[:, k].sum()) for k in (1, 2)]
        assert result.dice[0] == pytest.approx(float(sum(each) / 2))

    @pytest.mark.parametrize(
        ("knobs", "message"),
        [
            ({"gates": ["skip 9"]}, "gate must be one of bottleneck; got 'skip 9'"),
            ({"replacements": ["zero"]}, "replacement must be one of mean, one, shuffled; got 'zero'"),
            ({"pictures": 0}, "pictures must be at least 1; got 0"),
        ],
    )
    def test_unknown_names_are_refused(self, knobs, message):
        with pytest.raises(ValueError, match=message):
            explain.gate_ablation(unet(cbam="bottleneck"), discs(1, (SIDE, SIDE)), **knobs)

    def test_data_and_rows_that_do_not_fit_are_refused(self):
        model = unet(cbam="bottleneck")
        with pytest.raises(ValueError, match="must hold at least one picture; got none"):
            explain.gate_ablation(model, data_of())
        with pytest.raises(ValueError, match="must have the model's 2 classes; got 3"):
            explain.gate_ablation(model, discs(1, (SIDE, SIDE), num_classes=3))
        result = explain.gate_ablation(model, discs(1, (SIDE, SIDE)), replacements=["mean"])
        with pytest.raises(ValueError, match="row must be one of .*; got 'bottleneck, spatial, one'"):
            result.change("bottleneck", "spatial", "one")
        with pytest.raises(ValueError, match="stage must be one of bottleneck; got 'skip 1'"):
            result.verdict("skip 1")

    def test_with_fewer_pictures_than_said_nothing_could_be_shown(self):
        for count, said in ((5, "too few pictures"), (6, "where it looks helps")):
            pictures = [sample(square(), str(i)) for i in range(count)]
            result = explain.gate_ablation(Predictor(Gated(), size=SIDE), data_of(*pictures))
            assert (min(one.p_holm for one in result.changes) < 0.05) == (count == 6)
            assert said in result.verdict("attention")


class TestRemoval:
    def test_curves_of_a_network_that_reads_one_region_are_known_by_hand(self):
        """White region of 256 pixels, 1024 in all; with r of them left the soft Dice is 2 r / (r + 256)."""
        model, mask = Predictor(Reader(), size=SIDE), square()
        image = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
        percent = np.array([0, 5, 10, 15, 20, 25, 30, 100])
        gone = np.minimum(np.round(percent / 100 * 1024), 256)
        for found, left in (
            (explain.deletion_curve(model, image, mask, step_percent=5), 256 - gone),
            (explain.insertion_curve(model, image, mask, step_percent=5), gone),
        ):
            assert found.percent[[0, 1, 2, 3, 4, 5, 6, 20]].tolist() == percent.tolist()
            assert found.score[[0, 1, 2, 3, 4, 5, 6, 20]] == pytest.approx(2 * left / (left + 256), abs=1e-3)
        assert found.area == pytest.approx(np.trapezoid(found.score, dx=0.05))

    def test_a_perfect_map_beats_random_and_a_wrong_one_loses(self):
        model, mask = Predictor(Reader(), size=SIDE), square()
        image = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
        orders = {"perfect": mask, "random": np.zeros(mask.shape), "wrong": ~mask}
        areas = {name: explain.deletion_curve(model, image, order).area for name, order in orders.items()}
        assert areas["perfect"] < areas["random"] - 0.3
        assert areas["random"] < areas["wrong"] - 0.15
        areas = {name: explain.insertion_curve(model, image, order).area for name, order in orders.items()}
        assert areas["perfect"] > areas["random"] + 0.15
        assert areas["random"] > areas["wrong"] + 0.3

    def test_batches_and_the_size_of_the_picture_change_little(self):
        model, mask = Predictor(Reader(), size=SIDE), square()
        image = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
        once = explain.deletion_curve(model, image, mask, batch_size=1)
        assert once.score == pytest.approx(explain.deletion_curve(model, image, mask, batch_size=64).score, abs=1e-6)
        large = (np.kron(one, np.ones((2, 2), np.uint8)) for one in (mask, mask.astype(np.uint8) * 255))
        order, grey = large
        twice = explain.deletion_curve(model, np.repeat(grey[..., None], 3, axis=2), order)
        assert twice.score == pytest.approx(once.score, abs=1e-6)

    def test_blur_keeps_the_colour_of_a_flat_picture(self):
        model = Predictor(Reader(), size=SIDE)
        white = np.full((SIDE, SIDE, 3), 255, np.uint8)
        for fill in ("mean", "blur"):  # nothing changes when white takes the place of white
            assert explain.deletion_curve(model, white, square(), fill=fill).score == pytest.approx(np.ones(11))

    def test_a_picture_without_a_prediction_has_no_curve(self):
        model = Predictor(Reader(), size=SIDE)
        curve = explain.deletion_curve(model, np.zeros((SIDE, SIDE, 3), np.uint8), square())
        assert np.isnan(curve.score).all()
        assert np.isnan(curve.area)

    def test_a_dataset_has_every_map_and_counts_what_is_predicted(self):
        """The gate is the brightness and the region is bright: it beats random, which needs no test to be seen."""
        samples = [sample(square(), str(i)) for i in range(6)] + [sample(square() & False, "empty")]
        result = explain.removal_curves(Predictor(Reader(), size=SIDE), data_of(*samples), step_percent=25)
        assert result.maps == ("attention", "random", "edge", "centre", "probability")
        areas = {name: result.area("deletion", name) for name in result.maps}
        assert areas["attention"][:6] == pytest.approx(areas["probability"][:6])  # the same order
        assert (areas["attention"][:6] < areas["random"][:6] - 0.2).all()
        assert all(np.isnan(one[6]) for one in areas.values())
        assert len(result.gaps) == 6
        gap = result.gaps[0]
        assert (gap.stage, gap.baseline, gap.direction, gap.difference.n) == ("attention", "random", "deletion", 6)
        assert gap.difference.mean == pytest.approx((areas["attention"] - areas["random"])[:6].mean())
        assert not gap.better  # 2 in 2^6 is not below 0.05 after Holm over 6
        assert "6 pictures; 1 more, on which nothing is predicted, are left out." in result.to_markdown()
        assert json.loads(result.to_json())["curves"][0]["scores"][6] == [None] * 5

    def test_better_asks_for_low_deletion_and_high_insertion(self):
        samples = [sample(square(), str(i)) for i in range(12)]
        result = explain.removal_curves(Predictor(Reader(), size=SIDE), data_of(*samples), step_percent=25)
        against = {(gap.baseline, gap.direction): gap.better for gap in result.gaps}
        assert against["random", "deletion"]
        assert against["random", "insertion"]
        assert not against["centre", "deletion"] or result.gaps[4].difference.mean < 0

    @pytest.mark.parametrize(
        ("knobs", "message"),
        [
            ({"step_percent": 0}, r"step_percent must be in \(0, 100\] and divide 100; got 0"),
            ({"step_percent": 30}, "and divide 100; got 30"),
            ({"fill": "black"}, "fill must be one of blur, mean; got 'black'"),
            ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
            ({"saliency": np.zeros((3, 3))}, r"saliency must have the picture's shape \(32, 32\); got \(3, 3\)"),
            ({"saliency": np.full((SIDE, SIDE), np.nan)}, "saliency must be finite; got 1024 values that are not"),
        ],
    )
    def test_options_out_of_range_are_refused(self, knobs, message):
        knobs = {"saliency": np.zeros((SIDE, SIDE)), **knobs}
        with pytest.raises(ValueError, match=message):
            explain.deletion_curve(Predictor(Reader(), size=SIDE), np.zeros((SIDE, SIDE, 3), np.uint8), **knobs)

    def test_areas_are_asked_for_by_name(self):
        result = explain.removal_curves(Predictor(Reader(), size=SIDE), data_of(sample(square())), step_percent=50)
        with pytest.raises(ValueError, match="direction must be one of deletion, insertion; got 'removal'"):
            result.area("removal", "random")
        with pytest.raises(ValueError, match="map must be one of .*; got 'skip 1'"):
            result.area("deletion", "skip 1")


class TestRandomisation:
    def test_rank_correlation_is_spearmans(self):
        rng = np.random.default_rng(0)
        for ties in (1, 4, 50):
            a, b = rng.integers(0, ties + 1, (2, 60))
            assert explain.rank_correlation(a, b) == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
        a = rng.random((5, 7))
        assert explain.rank_correlation(a, -(a**3)) == pytest.approx(-1)

    def test_constants_are_unchanged_or_not_comparable(self):
        assert explain.rank_correlation([2, 2, 2], [5, 5, 5]) == 1
        assert np.isnan(explain.rank_correlation([2, 2, 2], [1, 2, 3]))
        with pytest.raises(ValueError, match="must hold equally many numbers, at least 1; got 2 and 3"):
            explain.rank_correlation([1, 2], [1, 2, 3])
        with pytest.raises(ValueError, match="got 0 and 0"):
            explain.rank_correlation([], [])

    @pytest.mark.parametrize("constant", [True, False])
    def test_a_gate_that_no_weight_makes_is_flagged(self, constant):
        result = explain.weight_randomisation(Predictor(Reader(constant), size=SIDE), discs(3, (SIDE, SIDE)), steps=2)
        assert (result.full == 1).all()
        assert result.flagged == ("attention spatial",)
        assert "| attention | spatial | 1.000 [1.000, 1.000] | yes | 3 |" in result.to_markdown()

    def test_a_gate_that_the_weights_make_is_not(self):
        """The gate is a random mixture of three colours that are independent noise."""

        class Mixed(nn.Module):
            num_classes, stride = 1, 1

            def __init__(self):
                super().__init__()
                self.mix = nn.Conv2d(48, 1, 1)
                self.gate = AttentionMap()

            def forward(self, x):
                cells = torch.nn.functional.pixel_unshuffle(x, 4)
                return nn.functional.interpolate(self.gate(self.mix(cells).sigmoid()), scale_factor=4.0)

        torch.manual_seed(0)
        noise = np.random.default_rng(0).integers(0, 255, (3, 3, SIDE, SIDE), np.uint8)
        data = data_of(*[Sample(torch.from_numpy(one), torch.zeros(SIDE, SIDE).byte(), "a") for one in noise])
        result = explain.weight_randomisation(Predictor(Mixed(), size=SIDE), data, draws=5)
        assert result.flagged == ()
        assert result.gates[0].strength.mean < 0.4
        assert result.gates[0].strength.mean == pytest.approx(np.abs(result.full[0]).mean())

    def test_the_cascade_starts_at_the_output_and_ends_with_all(self):
        model, data = unet(cbam=("bottleneck", "skip")), discs(2, (SIDE, SIDE))
        result = explain.weight_randomisation(model, data, steps=4, draws=2)
        cascade, alone = result.correlations["cascading"], result.correlations["independent"]
        assert cascade.shape == alone.shape == (10, 4, 2)
        assert result.layers[0].startswith("head to decoder.levels.")
        assert result.layers[3].endswith("encoder.0.0")
        bottleneck, finest = 1, 3
        assert (result.gates[bottleneck].stage, result.gates[finest].stage) == ("bottleneck", "skip 1")
        assert (cascade[bottleneck, 0] == 1).all()  # layers behind a gate cannot change it
        assert (alone[bottleneck, 0] == 1).all()
        assert (np.abs(cascade[finest, 0]) < 1).all()
        assert (np.abs(cascade[:, 3]) < 1).all()
        assert np.array_equal(cascade[:, 0], alone[:, 0])
        assert np.array_equal(cascade[:, 3], result.full[:, 0])
        assert not np.array_equal(result.full[:, 0], result.full[:, 1])

    def test_the_model_and_torchs_random_state_stay(self):
        model, state = unet(cbam="skip"), torch.get_rng_state()
        before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
        first = explain.weight_randomisation(model, discs(1, (SIDE, SIDE)), steps=2, draws=1)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(tensor, model.model.state_dict()[name]) for name, tensor in before.items())
        torch.manual_seed(99)
        again = explain.weight_randomisation(model, discs(1, (SIDE, SIDE)), steps=2, draws=1)
        other = explain.weight_randomisation(model, discs(1, (SIDE, SIDE)), steps=2, draws=1, seed=1)
        assert first.to_json() == again.to_json()
        assert not np.array_equal(first.full, other.full)

    def test_weights_without_a_start_of_their_own_are_redrawn_too(self):
        class Bare(nn.Module):
            num_classes, stride = 1, 1

            def __init__(self):
                super().__init__()
                self.map = nn.Parameter(torch.linspace(0, 1, SIDE * SIDE).view(1, 1, SIDE, SIDE))
                self.gate = AttentionMap()

            def forward(self, x):
                return self.gate(self.map.expand(len(x), -1, -1, -1))

        result = explain.weight_randomisation(Predictor(Bare(), size=SIDE), discs(1, (SIDE, SIDE)))
        assert np.abs(result.full).max() < 0.2
        assert result.layers == ("network",)

    def test_steps_and_draws_are_checked(self):
        for knobs in ({"steps": 0}, {"draws": 0}):
            with pytest.raises(ValueError, match="steps and draws must be at least 1; got"):
                explain.weight_randomisation(unet(cbam="skip"), discs(1, (SIDE, SIDE)), **knobs)

    def test_a_model_without_weights_is_refused(self):
        class Empty(Gated):
            def __init__(self):
                super().__init__()
                del self.weight
                self.weight = 1.0

        with pytest.raises(ValueError, match="the model must have weights to randomise; got none"):
            explain.weight_randomisation(Predictor(Empty(), size=SIDE), discs(1, (SIDE, SIDE)))


class TestMass:
    def test_a_uniform_map_has_ratio_1_and_one_inside_the_most(self):
        mask = square(8)  # a 16th of the picture
        assert explain.attention_mass(np.full(mask.shape, 0.3), mask) == pytest.approx(1)
        assert explain.attention_mass(mask, mask) == pytest.approx(16)
        assert explain.attention_mass(~mask, mask) == 0

    def test_unknown_pixels_are_left_out(self):
        truth = np.array([[1, 0, 255, 255]])
        assert explain.attention_mass(np.array([[3.0, 1, 9, 9]]), truth) == 1.5
        assert explain.attention_mass(np.array([[3.0, 1, 9, 9]]), truth, ignore_index=None) == pytest.approx(7 / 5.5)

    def test_no_object_or_no_mass_is_not_defined(self):
        assert np.isnan(explain.attention_mass(np.ones((2, 2)), np.zeros((2, 2))))
        assert np.isnan(explain.attention_mass(np.zeros((2, 2)), np.ones((2, 2))))

    def test_what_is_no_map_is_refused(self):
        with pytest.raises(ValueError, match=r"truth must have the map's shape \(2, 2\), \(H, W\); got \(2, 3\)"):
            explain.attention_mass(np.ones((2, 2)), np.ones((2, 3)))
        with pytest.raises(ValueError, match="saliency must be finite and 0 or above; got values from -1.0"):
            explain.attention_mass(-np.ones((2, 2)), np.ones((2, 2)))

    def test_a_dataset_has_ratios_per_picture_with_an_interval(self):
        samples = [sample(square(), "a"), sample(square(8), "b"), sample(square() & False, "empty")]
        result = explain.mass_inside(Predictor(Gated(), size=SIDE), data_of(*samples))
        assert result.areas == pytest.approx([1 / 4, 1 / 16, 0])
        row = result.stages[0]
        assert row.ratios[:2] == pytest.approx([4, 16])
        assert np.isnan(row.ratios[2])
        assert (row.excess.mean, row.excess.n) == (pytest.approx(9), 2)
        assert "| attention | 10.000 [" in result.to_markdown()
        assert json.loads(result.to_json())["stages"][0]["ratios"] == [4, 16, None]

    def test_the_map_is_the_one_that_attention_maps_shows(self):
        model, data = unet(cbam="bottleneck"), discs(1, (40, 60))
        spatial = explain.attention_maps(model, data[0].image)["bottleneck"].spatial
        truth = data[0].mask.numpy() > 0
        expected = (spatial[truth].sum() / spatial.sum()) / truth.mean()
        assert explain.mass_inside(model, data).stages[0].ratios[0] == pytest.approx(expected, rel=1e-5)


class TestFaithfulness:
    def test_all_four_tests_run_and_say_what_they_found(self, tmp_path):
        done = []
        model, data = unet(cbam=("bottleneck", "skip")), discs(5, (SIDE, SIDE))
        result = explain.faithfulness(model, data, step_percent=50, pictures=3, on_image=done.append)
        assert done == [1, 2, 3]
        assert result.names == ("p0", "p2", "p4")  # at even steps
        assert list(result.verdicts) == [*result.gates.stages]
        text = str(result)
        assert text == result.to_markdown()
        assert text.count("\n#### ") == 4
        assert "- skip 1: Replacing its map by its mean changes Dice by" in text
        result.save(tmp_path / "a.json")
        content = json.loads((tmp_path / "a.json").read_text())
        assert set(content) == {"model", "pictures", "verdicts", "gates", "curves", "randomisation", "mass"}
        assert content["pictures"] == 3
        result.save(tmp_path / "a.md")
        assert (tmp_path / "a.md").read_text() == text.rstrip("\n") + "\n"
        with pytest.raises(ValueError, match=r"file of explanations must end in .json or .md; got a.csv"):
            result.save(tmp_path / "a.csv")

    def test_each_part_is_what_it_is_alone(self):
        model, data = unet(cbam="bottleneck"), discs(2, (SIDE, 48))
        result = explain.faithfulness(model, data, step_percent=50, seed=3)
        assert result.gates.to_json() == explain.gate_ablation(model, data, seed=3).to_json()
        assert result.curves.to_json() == explain.removal_curves(model, data, seed=3, step_percent=50).to_json()
        assert result.randomisation.to_json() == explain.weight_randomisation(model, data, seed=3).to_json()
        assert result.mass.to_json() == explain.mass_inside(model, data, seed=3).to_json()

    def test_a_flagged_gate_is_named_in_the_verdict(self):
        result = explain.faithfulness(Predictor(Reader(), size=SIDE), discs(2, (SIDE, SIDE)), step_percent=50)
        said = "With random weights its spatial gate keeps its order (absolute rank correlation 1.00)"
        assert said in result.verdicts["attention"]

    def test_a_model_with_channel_gates_only_has_no_maps_to_test(self):
        class Channels(nn.Module):
            num_classes, stride = 1, 1

            def __init__(self):
                super().__init__()
                self.net = nn.Sequential(nn.Conv2d(3, 8, 1), ChannelAttention(8), nn.Conv2d(8, 1, 1))

            def forward(self, x):
                return self.net(x)

        torch.manual_seed(0)
        result = explain.faithfulness(Predictor(Channels(), size=SIDE), discs(2, (SIDE, SIDE)), step_percent=50)
        assert result.curves.maps == ("random", "edge", "centre", "probability")
        assert (result.curves.gaps, result.mass.stages) == ((), ())
        assert "channel gate by its mean" in next(iter(result.verdicts.values()))
        assert "its map" not in result.to_markdown()

    def test_nothing_to_score_is_said_and_not_a_number(self):
        dark = data_of(sample(square() & False, "a"), sample(square() & False, "b"))
        result = explain.faithfulness(Predictor(Gated(), size=SIDE), dark, step_percent=50)
        text = result.to_markdown()
        assert "Dice as it is: not defined, 2 pictures, 2 without a Dice." in text
        assert "too few pictures to say more (n = 0;" in result.verdicts["attention"]
        assert "0 pictures; 2 more" in text
        assert "NaN" not in result.to_json()
        one = explain.faithfulness(Predictor(Gated(), size=SIDE), data_of(sample(square())), step_percent=50)
        assert "| attention | spatial | 1.000 | yes | 1 |" in one.to_markdown()

    def test_a_model_without_a_gate_is_told_in_one_line(self):
        for test in (explain.faithfulness, explain.gate_ablation, explain.removal_curves, explain.mass_inside):
            with pytest.raises(ValueError, match=r"^the model must have an attention gate .*; unet has none\.$"):
                test(unet(), discs(1, (SIDE, SIDE)))

    def test_gates_of_other_kinds_are_tested_too(self):
        torch.manual_seed(0)
        model = Predictor(build_model("attention_unet", 1, width=4), size=SIDE)
        result = explain.gate_ablation(model, discs(1, (SIDE, SIDE)), replacements=["mean"])
        assert [(one.stage, one.kind) for one in result.changes] == [
            *((f"skip {i}", "spatial") for i in range(1, 5)),
            ("all stages", "spatial"),
        ]
