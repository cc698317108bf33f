import threading

import numpy as np
import pytest
import torch

from seglab import explain
from seglab.blocks import AttentionMap
from seglab.inference import Predictor, letterbox, restore
from seglab.models import build_model


def predictor(size=32, **knobs):
    torch.manual_seed(0)
    return Predictor(build_model("unet", 1, width=4, **knobs), size=size)


def picture(height=40, width=60):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


class TestAttentionMaps:
    def test_every_cbam_has_a_named_stage_at_the_pictures_size(self):
        maps = explain.attention_maps(predictor(cbam=("encoder", "bottleneck", "skip", "decoder")), picture())
        names = [f"encoder {i}" for i in range(1, 5)] + ["bottleneck"]
        names += [f"skip {i}" for i in range(1, 5)] + [f"decoder {i}" for i in range(1, 5)]
        assert list(maps) == names
        assert all(one.spatial.shape == (40, 60) and one.spatial.dtype == np.float32 for one in maps.values())
        # Width doubles from level to level, so the number of channels tells which level a name stands for.
        assert [len(maps[f"encoder {i}"].channel) for i in range(1, 5)] == [4, 8, 16, 32]
        assert [len(maps[f"skip {i}"].channel) for i in range(1, 5)] == [4, 8, 16, 32]
        assert [len(maps[f"decoder {i}"].channel) for i in range(1, 5)] == [4, 8, 16, 32]

    def test_the_vgg_unet_has_readable_names_too(self):
        torch.manual_seed(0)
        model = Predictor(build_model("vgg16_unet", 1, cbam=("encoder", "bottleneck", "skip")), size=32)
        names = list(explain.attention_maps(model, picture(32, 32)))
        assert names == [*(f"encoder {i}" for i in range(1, 5)), "bottleneck", *(f"skip {i}" for i in range(1, 5))]

    def test_a_model_without_cbam_has_none(self):
        assert explain.attention_maps(predictor(), picture()) == {}

    def test_the_spatial_gate_is_the_formula_of_the_paper(self):
        model = predictor(cbam="bottleneck")
        block = model.model.net.attention[4]
        seen = []
        handle = block.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        maps = explain.attention_maps(model, picture(32, 32))
        handle.remove()
        x = seen[0]
        gated = (
            x * torch.sigmoid(block.channel.mlp(x.mean((2, 3))) + block.channel.mlp(x.amax((2, 3))))[..., None, None]
        )
        pooled = torch.stack([gated.amax(1), gated.mean(1)], 1)
        gate = torch.sigmoid(block.spatial.norm(block.spatial.conv(pooled)))
        large = torch.nn.functional.interpolate(gate, size=(32, 32), mode="bilinear", align_corners=False)
        assert np.abs(maps["bottleneck"].spatial - large[0, 0].detach().numpy()).max() < 1e-5

    def test_padding_is_cut_off_exactly(self):
        """At 40 pixels the network sees 48, its gate being 48 x 48; of 40 a picture of 20 x 10 fills the middle 20."""
        square = np.zeros((48, 48), np.float32)
        square[:40, 10:30] = np.linspace(0, 1, 40)[:, None]
        _, box = letterbox(np.zeros((20, 10, 3), np.uint8), 40)
        stage = explain.StageAttention("x", square[0], square, 48, lambda maps: restore(maps, box))
        assert stage.spatial.shape == (20, 10)
        assert np.ptp(stage.spatial, axis=1).max() == 0  # no column has met the padding
        assert stage.spatial[[0, -1], 0] == pytest.approx([0.5 / 39, 38.5 / 39], abs=1e-6)  # means of two rows

    def test_gates_cover_the_network_input_with_its_padding(self):
        model = predictor(size=40, cbam=("skip", "bottleneck"))
        maps = explain.attention_maps(model, picture())
        assert {one.side for one in maps.values()} == {48}
        assert maps["skip 1"].gate.shape == (48, 48)
        assert maps["bottleneck"].gate.shape == (3, 3)

    def test_any_gate_that_passes_an_attention_map_is_found(self):
        class Gated(torch.nn.Module):
            num_classes, stride = 1, 1

            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.ones(1))
                self.gate = AttentionMap()

            def forward(self, x):
                return x[:, :1] * self.gate((x[:, :1] * self.weight).clamp(0, 1))

        image = picture(32, 32)
        maps = explain.attention_maps(Predictor(Gated(), size=32), image)
        assert list(maps) == ["attention"]  # its path tells nothing
        assert maps["attention"].spatial == pytest.approx(image[..., 0] / 255)
        assert len(maps["attention"].channel) == 0

    def test_recording_changes_no_answer_and_shares_the_weights(self):
        model = predictor(cbam=("skip", "encoder"))
        recorder = explain.Recorder(model)
        assert np.array_equal(recorder.predictor(picture()).probs, model(picture()).probs)
        ours = {id(tensor) for tensor in recorder.predictor.model.state_dict(keep_vars=True).values()}
        assert ours == {id(tensor) for tensor in model.model.state_dict(keep_vars=True).values()}

    def test_other_threads_may_predict_meanwhile(self):
        model, done = predictor(cbam=("skip",)), threading.Event()
        alone = explain.attention_maps(model, picture())["skip 1"].gate

        def predict():
            while not done.is_set():
                model(255 - picture())

        thread = threading.Thread(target=predict)
        thread.start()
        try:
            for _ in range(10):
                assert np.array_equal(explain.attention_maps(model, picture())["skip 1"].gate, alone)
        finally:
            done.set()
            thread.join()

    def test_two_threads_get_their_own_maps(self):
        model = predictor(cbam=("skip",))
        pictures = [picture(), np.full((40, 60, 3), 200, np.uint8)]
        alone = [explain.attention_maps(model, one)["skip 1"].spatial for one in pictures]
        together = [None, None]

        def work(i):
            for _ in range(5):
                together[i] = explain.attention_maps(model, pictures[i])["skip 1"].spatial

        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))

    def test_no_hook_stays_on_the_model(self):
        model = predictor(cbam=("skip",))
        explain.attention_maps(model, picture())
        assert all(not module._forward_hooks for module in model.model.modules())


class TestMaps:
    def test_error_map_names_every_kind_of_pixel(self):
        pred = np.array([[0, 1, 1, 0, 1, 2]])
        target = np.array([[0, 1, 0, 1, 255, 1]])
        assert explain.error_map(pred, target).tolist() == [[0, 1, 2, 3, 255, 2]]

    def test_error_map_counts_equal_the_confusion_counts(self):
        rng = np.random.default_rng(0)
        pred, target = rng.integers(0, 2, (2, 50, 50))
        codes = explain.error_map(pred, target)
        assert (codes == explain.CORRECT).sum() == (pred & target).sum()
        assert (codes == explain.EXTRA).sum() == (pred & ~target & 1).sum()
        assert (codes == explain.MISSED).sum() == (~pred & target).sum()

    def test_error_map_refuses_another_size(self):
        with pytest.raises(ValueError, match="must have pred's shape"):
            explain.error_map(np.zeros((2, 2)), np.zeros((2, 3)))

    def test_colours_are_the_palette_and_background_is_untouched(self):
        image = picture(60, 60)
        codes = np.zeros((60, 60), np.uint8)
        codes[5:20, 5:20], codes[25:40, 5:20], codes[5:55, 30:55] = 1, 2, 3
        drawn = explain.colour_map(image, codes, opacity=1.0)
        assert np.array_equal(drawn[codes == 0], image[codes == 0])
        assert (drawn[codes == 1] == (128, 192, 255)).all()
        assert (drawn[codes == 2] == (255, 128, 0)).all()
        missed = {tuple(colour) for colour in drawn[codes == 3].tolist()}
        assert missed == {(0, 0, 64), (255, 255, 255)}  # navy with white stripes: told apart without colour

    def test_opacity_mixes_and_is_checked(self):
        image = np.full((30, 30, 3), 100, np.uint8)
        codes = np.full((30, 30), 2, np.uint8)
        inner = explain.colour_map(image, codes, opacity=0.5)[10, 10]
        assert inner.tolist() == [178, 114, 50]
        with pytest.raises(ValueError, match=r"opacity must be in \[0, 1\]"):
            explain.colour_map(image, codes, opacity=2)

    def test_outline_is_the_border_of_the_mask_and_nothing_else(self):
        image = np.zeros((9, 9, 3), np.uint8)
        mask = np.zeros((9, 9), np.uint8)
        mask[2:7, 2:7] = 1
        drawn = explain.outline(image, [(mask, (9, 8, 7))], width=1).any(-1)
        expected = np.zeros((9, 9), bool)
        expected[2:7, 2:7] = True
        expected[3:6, 3:6] = False
        assert np.array_equal(drawn, expected)
        assert not image.any()

    def test_heat_has_a_fixed_scale(self):
        from matplotlib import colormaps

        low, high = (np.array(colormaps["cividis"](x, bytes=True)[:3]) for x in (0.0, 1.0))
        drawn = explain.heat(np.array([[0.0, 1.0], [-3.0, 7.0]]))
        assert (drawn[:, 0] == low).all()
        assert (drawn[:, 1] == high).all()
        assert (explain.heat(np.full((2, 2), 0.5))[0, 0] != drawn[0, 0]).any()

    def test_missed_pixels_have_stripes_that_grow_with_the_picture(self):
        for side, unit in ((80, 1), (1200, 4)):
            codes = np.full((side, side), explain.MISSED, np.uint8)
            white = explain.colour_map(np.zeros((side, side, 3), np.uint8), codes, opacity=1.0)[..., 0] == 255
            rows, columns = np.indices((side, side))
            assert np.array_equal(white, (rows + columns) % (8 * unit) < 2 * unit)

    def test_two_outlines_are_seen_where_they_coincide(self):
        mask = np.zeros((40, 40), np.uint8)
        mask[10:30, 10:30] = 1
        drawn = explain.outline(np.zeros((40, 40, 3), np.uint8), [(mask, (1, 1, 1)), (mask, (2, 2, 2))], width=2)
        assert drawn[20, 8:16, 0].tolist() == [0, 0, 2, 2, 1, 1, 0, 0]

    def test_a_casing_lies_outside_and_covers_no_line(self):
        a, b = np.zeros((2, 20, 40), np.uint8)
        a[5:15, 10:30] = b[5:15, 12:28] = 1
        drawn = explain.outline(
            np.zeros((20, 40, 3), np.uint8), [(a, (1,) * 3), (b, (2,) * 3)], width=1, casing=(9,) * 3
        )
        assert drawn[10, 8:16, 0].tolist() == [0, 9, 1, 1, 2, 0, 0, 0]  # the line of a is two wide, b's casing below it
        assert not explain.outline(drawn * 0, [(a * 0, (1,) * 3)], casing=(9,) * 3).any()

    def test_outlines_leave_the_edge_of_the_picture_free(self):
        drawn = explain.outline(np.zeros((9, 9, 3), np.uint8), [(np.ones((9, 9)), (1, 1, 1))])
        assert not drawn.any()

    def test_unknown_pixels_are_no_object(self):
        image, mask = np.zeros((9, 9, 3), np.uint8), np.full((9, 9), 255, np.uint8)
        assert not explain.overlay(image, mask).any()
        assert not explain.outline(image, [(mask, (1, 1, 1))]).any()
        assert (explain.colour_map(image, mask, opacity=1.0) == 128).all()

    def test_heat_over_a_picture_takes_every_hue_from_the_values(self):
        image = picture(20, 20)
        drawn = explain.heat(np.full((20, 20), 0.3), image=image, opacity=0.5).astype(int)
        colour = explain.heat(np.full((1, 1), 0.3))[0, 0].astype(int)
        shift = drawn - colour / 2  # half the grey of the picture, the same in all three colours
        assert np.ptp(shift, axis=2).max() <= 1.5
        assert np.abs(shift.mean(axis=2) * 2 - image @ [0.299, 0.587, 0.114]).max() < 2.5

    def test_heat_takes_values_that_are_no_number_as_0(self):
        assert np.array_equal(explain.heat(np.array([[np.nan]])), explain.heat(np.array([[0.0]])))

    def test_pictures_of_another_size_are_refused(self):
        with pytest.raises(ValueError, match="mask must have the picture's shape"):
            explain.overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5)))
        with pytest.raises(ValueError, match=r"image must be \(H, W, 3\) uint8"):
            explain.heat(np.zeros((4, 4)), image=np.zeros((4, 4), np.uint8))


def test_several_modules_at_one_place_have_a_name_each():
    predictor = Predictor(build_model("reverse_attention_unet", 1, width=8), size=32)
    names = list(explain.attention_maps(predictor, np.zeros((32, 32, 3), np.uint8)))
    assert names == [f"skip {level} {kind}" for level in (1, 2, 3, 4) for kind in ("reverse", "boundary")]


def test_skips_of_a_decoder_without_levels_are_named_too():
    predictor = Predictor(build_model("resunet", 1, width=4, cbam="skip"), size=32)
    assert list(explain.attention_maps(predictor, np.zeros((32, 32, 3), np.uint8))) == ["skip 1", "skip 2", "skip 3"]
