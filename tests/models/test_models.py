import pytest
import torch
from torch import nn

from robustsnn.models import MODELS, Normalize, create, vgg

SIZES = {"digits": {"size": 8, "channels": 1}, "vgg": {"size": 8, "plan": [4, "A"], "hidden": [5]}}


def made(name, classes=10, **options):
    """A slim one of that name."""
    return create(name, classes, **({"width": 0.1} | SIZES.get(name, {}) | options))


def pixels(name, count=2):
    options = SIZES.get(name, {})
    return torch.rand(count, options.get("channels", 3), *[options.get("size", 32)] * 2)


def state(body):
    return torch.cat([tensor.flatten().float() for tensor in body.state_dict().values()])


@pytest.mark.parametrize("name", MODELS)
def test_a_body_depends_on_its_arguments_alone_and_spares_the_global_generator(name):
    before = torch.get_rng_state()
    first = state(made(name))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    assert torch.equal(state(made(name)), first)
    assert not torch.equal(state(made(name, seed=1)), first)


@pytest.mark.parametrize("name", MODELS)
def test_a_body_turns_pixels_into_logits(name):
    body = made(name, classes=7).eval()
    logits = body(pixels(name))
    assert logits.shape == (2, 7)
    assert logits.std() > 0


@pytest.mark.parametrize("name", MODELS)
def test_a_body_has_one_relu_module_per_activation_and_normalises_first(name):
    body = made(name)
    reached = []
    for module in body.modules():
        if isinstance(module, nn.ReLU | Normalize):
            module.register_forward_hook(lambda module, inputs, output: reached.append(module))
    body.eval()(pixels(name))
    assert isinstance(reached[0], Normalize)
    assert [id(m) for m in reached[1:]] == [id(m) for m in body.modules() if isinstance(m, nn.ReLU)]


def test_vgg_layers_are_named_by_position():
    body = create("vggmini", 10, conv_bias=True)
    kinds = {name: type(module).__name__ for name, module in body.named_modules()}
    convolutions = [name for name, kind in kinds.items() if kind == "Conv2d"]
    assert convolutions == ["features.0", "features.4", "features.7", "features.11"]
    assert [name for name, kind in kinds.items() if kind == "ReLU"] == [
        *("features.2", "features.6", "features.9", "features.13"),
        "classifier.2",
    ]
    assert [name for name, kind in kinds.items() if kind == "Linear"] == ["classifier.1", "classifier.3"]
    assert (kinds["features.3"], kinds["features.10"], kinds["classifier.0"]) == ("AvgPool2d", "AvgPool2d", "Flatten")
    assert body.classifier[1].in_features == 2048


def test_vgg_is_convolutions_norms_and_relus_then_linear_layers():
    body = vgg([4, "A", 6], [5, 3], classes=2, size=4, channels=1, dropout=0.25)
    assert [type(module).__name__ for module in body.features] == [
        *("Conv2d", "BatchNorm2d", "ReLU", "AvgPool2d"),
        *("Conv2d", "BatchNorm2d", "ReLU"),
    ]
    assert [type(module).__name__ for module in body.classifier] == ["Flatten", *("Linear", "ReLU", "Dropout") * 2, "Linear"]
    assert {module.p for module in body.modules() if isinstance(module, nn.Dropout)} == {0.25}


def test_width_scales_every_hidden_layer():
    body = create("vgg", 2, size=4, channels=1, plan=[4, 6], hidden=[10, 1], width=0.5)
    assert [module.out_channels for module in body.features if isinstance(module, nn.Conv2d)] == [2, 3]
    assert [module.out_features for module in body.classifier if isinstance(module, nn.Linear)] == [5, 1, 2]


@pytest.mark.parametrize("conv_bias", [False, True])
def test_convolutions_have_biases_only_if_asked(conv_bias):
    body = create("vggmini", 10, conv_bias=conv_bias)
    biases = {module.bias is not None for module in body.modules() if isinstance(module, nn.Conv2d)}
    assert biases == {conv_bias}


def test_convolutions_start_kaiming_normal_in_fan_out():
    weight = create("vgg", 2, size=4, plan=[32, 64], hidden=[8]).features[3].weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert abs(weight.mean().item()) < 1e-3


def test_pixels_are_normalised_per_channel():
    x = torch.rand(2, 3, 4, 4)
    normalize = Normalize((0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
    for channel, (mean, std) in enumerate(((0.1, 0.5), (0.2, 1.0), (0.3, 2.0))):
        torch.testing.assert_close(normalize(x)[:, channel], (x[:, channel] - mean) / std)


def test_one_mean_and_std_serve_every_channel():
    body = create("digits", 10, size=8, channels=3, mean=(0.2,), std=(0.4,))
    assert body.normalize.mean.flatten().tolist() == pytest.approx([0.2] * 3)
    assert body.normalize.std.flatten().tolist() == pytest.approx([0.4] * 3)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 8, 8), (2, 2, 8, 8)], ids=str)
def test_images_with_other_channels_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must be \[N, 1, H, W\]"):
        made("digits")(torch.rand(shape))


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("vggmin", {}, "unknown model 'vggmin': did you mean 'vggmini'"),
        ("digits", {"depth": 3}, "model 'digits' has no option 'depth'"),
        ("vggmini", {"plan": [4]}, "model 'vggmini'.*plan"),
        ("digits", {"width": 0.0}, "width must be greater than 0"),
        ("digits", {"classes": 1}, "classes >= 2"),
        ("digits", {"channels": 0}, "channels"),
        ("digits", {"size": 0}, "size"),
        ("digits", {"mean": (0.1, 0.2)}, "2 values for 1 channels"),
        ("digits", {"mean": ()}, "0 values for 1 channels"),
        ("digits", {"std": (0.1, 0.2)}, "one mean and one std"),
        ("digits", {"std": (0.0,)}, "std > 0"),
        ("digits", {"dropout": 1.5}, "dropout"),
        ("vgg", {"plan": [4, "A", "A", "A", "A"], "hidden": []}, "pools more often than the images' size allows"),
        ("vgg", {"plan": [4, "A", "A", "A", "A", "G"], "hidden": []}, "pools more often than the images' size allows"),
        ("vgg", {"plan": [4, "M"], "hidden": []}, "plan entry 'M'"),
        ("vgg", {"plan": [0], "hidden": []}, "plan entry 0"),
        ("vgg", {"plan": [4], "hidden": [0]}, "hidden"),
        ("vgg", {"plan": [4], "hidden": [-1]}, "hidden"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_body_that_cannot_be_is_refused(name, options, line):
    with pytest.raises(ValueError, match=line):
        made(name, **options)


def test_the_image_may_be_pooled_down_to_one_pixel():
    body = create("vgg", 3, size=8, plan=[4, "A", "A", "A"], hidden=[])
    assert body(torch.rand(2, 3, 8, 8)).shape == (2, 3)
