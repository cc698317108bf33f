import pytest
import torch

from seglab.cards import publish, scores_of
from seglab.checkpoint import Description, load_model, save_model
from seglab.evaluation import Report
from seglab.models import build_model


@pytest.fixture
def source(tmp_path):
    torch.manual_seed(0)
    model = build_model("unet", 1, width=4)
    card = {
        "data": {"roots": ["skin"], "split": "ab12", "train": 8, "val": 1, "test": 1},
        "commands": ["seglab train x", "seglab train y"],
    }
    path = tmp_path / "best.safetensors"
    save_model(path, model, Description("unet", model.knobs, 1, ("background", "lesion"), 64, "Tiny", card))
    return path


def report():
    counts = torch.tensor([[[90, 0], [0, 10]], [[80, 10], [10, 0]]])
    return Report("Tiny", ("a", "b"), ("background", "lesion"), counts, torch.tensor([0.0, 4.0], dtype=torch.float64))


def test_scores_carry_their_definition_and_n():
    scores = scores_of(report(), "skin")
    assert scores["dice_fg_image"] == {"value": 0.5, "n": 2}  # 1 and 0
    assert scores["dice_fg_pooled"]["value"] == 0.5  # 2 * 10 / (2 * 10 + 10 + 10)
    assert scores["hausdorff95_image"] == {"value": 2.0, "n": 2}
    assert scores["dice_fg_image_interval_95"] == [0.0, 1.0]


def test_a_published_model_predicts_as_before_and_tells_its_scores(source, tmp_path):
    target = tmp_path / "models" / "tiny.safetensors"
    publish(source, target, scores=[scores_of(report(), "skin")])
    before, _ = load_model(source)
    after, description = load_model(target)
    picture = torch.rand(1, 3, 64, 64)
    assert torch.allclose(before(picture), after(picture), atol=1e-2)  # half precision of the weights
    assert description.card["scores"][0]["dice_fg_image"]["value"] == 0.5
    card = target.with_suffix(".md").read_text()
    for words in (
        "# Tiny",
        "split `ab12`",
        "| skin | 2 | 0.5000 (0.0000 to 1.0000)",
        "Trained by: `seglab train x`",
        "then by: `seglab train y`",
        "not a medical device",
    ):
        assert words in card


def test_another_ending_is_refused_before_anything_is_written(source, tmp_path):
    with pytest.raises(ValueError, match=r"must end in .safetensors; got tiny.pt"):
        publish(source, tmp_path / "models" / "tiny.pt")
    assert not (tmp_path / "models").exists()
