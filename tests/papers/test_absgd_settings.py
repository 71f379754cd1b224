"""What each method of ABSGD has in each experiment at scale paper, written out by hand from its sources.

Paper: the text; script, code, README: qiqi-helloworld/ABSGD, the script being the deleted noisy_cifar10_cifar100.sh;
LDAM-DRW, META, decoupling: the codes named in config/papers/absgd/paper.yaml. A cell has what its row says, and no
more: every value that decides the training, but for what all runs share.
"""

import pytest

SHARED = {"drop_last", "evaluate_every", "evaluate_on", "keep_features", "precision", "target_batch_size", "threads"}
TRAINING = {"batch_size": "batch", "learning_rate": "rate", "weight_decay": "decay", "gradient_clip": "clip"}


def said(spec):
    """The values of a spec that decide its training, by short names; those that are null, false or empty left out."""

    def flat(tree, prefix=""):
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    training = {TRAINING.get(key, key): value for key, value in spec["training"].items() if key not in SHARED}
    found = {"uses": spec["uses"], **dict(flat(training)), **dict(flat(spec["method_options"]))}
    found |= {"net": spec["model"]["name"], **dict(flat(spec["model"]["options"]))}
    split = spec["data"]["split"]
    found |= {key: split[key] for key in ("target_size", "validation_size")}
    return {key: value for key, value in found.items() if value not in (None, False, 0, [])}


def step(milestones, factor, warmup=0, where="schedule"):
    found = {f"{where}.name": "step", f"{where}.milestones": milestones, f"{where}.factor": factor}
    return {**found, **({f"{where}.warmup_epochs": warmup} if warmup else {})}


def cosine(where="schedule"):
    return {f"{where}.name": "cosine"}


# --- imbalance: §4.1 (rate, drops), LDAM-DRW (the rest), code --------------------------------------------------------

RESNET32 = {"net": "resnet32", "epochs": 200, "batch": 128, "rate": 0.1, "momentum": 0.9, "decay": 2e-4}
DROPS = step([160, 180], 0.01, 5)
CIFAR = {**RESNET32, **DROPS}
CODE = {**RESNET32, **step([159], 0.01, 5)}  # code: `epoch + 1 >= 160`, the drop at 180 commented out
PLAIN = {"uses": "sgd", "sampling": "uniform"}
SINCE = {"from_epoch": 160}  # README: lamda_shots, CB_shots
AB = {"uses": "absgd", **SINCE, "lambda_": 5.0, "gamma": 0.5, "alpha": 1.0}  # README (λ), Fig. 4 (γ), Algorithm 1
FOCAL = {"loss.name": "focal", "loss.gamma": 1.0, "loss.weight_leaks": True}  # LDAM-DRW, code
LDAM = {"loss.name": "ldam", "loss.max_margin": 0.5, "loss.scale": 30.0, "head": "cosine"}  # LDAM-DRW
CB = {"class_balance.beta": 0.9999, "class_balance.from_epoch": 160}  # LDAM-DRW, §4 (deferred)
CB_NOW = {"class_balance.beta": 0.9999}  # from epoch 0
IN_AB = {**CB, "class_balance.normalisation": "none"}  # code: reduction="none"
NORMALISED = {**CB, "class_balance.normalisation": "batch"}  # ours

TABLES_1_AND_2 = {
    "sgd_ce": {**CIFAR, **PLAIN},
    "absgd_ce": {**CIFAR, **AB},
    "sgd_focal": {**CIFAR, **PLAIN, **FOCAL},
    "absgd_focal": {**CIFAR, **AB, **FOCAL},
    "resample_ce": {**CIFAR, **PLAIN, "sampling": "effective-number"},
    "sgd_cbce": {**CIFAR, **PLAIN, **CB},
    "absgd_cbce": {**CIFAR, **AB, **IN_AB},
    "sgd_cbfocal": {**CIFAR, **PLAIN, **CB, **FOCAL},
    "absgd_cbfocal": {**CIFAR, **AB, **IN_AB, **FOCAL},
    "sgd_ldam": {**CIFAR, **PLAIN, **LDAM},
    "sgd_cbldam": {**CIFAR, **PLAIN, **CB, **LDAM},
    "absgd_cbldam": {**CIFAR, **AB, **IN_AB, **LDAM},
    "sgd_cbce_rw": {**CIFAR, **PLAIN, **CB_NOW},
    "sgd_cbfocal_rw": {**CIFAR, **PLAIN, **CB_NOW, **FOCAL},
    "sgd_cbldam_rw": {**CIFAR, **PLAIN, **CB_NOW, **LDAM},
    "absgd_cbce_batch": {**CIFAR, **AB, **NORMALISED},
    "absgd_cbfocal_batch": {**CIFAR, **AB, **NORMALISED, **FOCAL},
    "absgd_cbldam_batch": {**CIFAR, **AB, **NORMALISED, **LDAM},
    "sgd_cbfocal_formula": {**CIFAR, **PLAIN, **CB, "loss.name": "focal", "loss.gamma": 1.0},
    # README for CIFAR-10: batches of 100, λ 5, γ 0.7, alpha 0.5; its dropout is left out.
    "absgd_ce_code": {**CODE, **AB, "batch": 100, "gamma": 0.7, "alpha": 0.5},
    "absgd_cbce_code": {**CODE, **AB, **IN_AB, "batch": 100, "gamma": 0.7, "alpha": 0.5},
    "sgd_ce_code": {**CODE, **PLAIN, "batch": 100},
    "abadam_ce": {**CIFAR, **AB, "uses": "abadam", "rate": 0.001, "beta1": 0.9, "beta2": 0.999, "stability": 1e-8},
}
README_100 = {"batch": 128, "gamma": 0.45, "alpha": 0.3}  # README for CIFAR-100; λ = 3 too


def on_cifar100(rows):
    """The same on CIFAR-100: λ = 3 (README)."""
    found = {name: {**row, "lambda_": 3.0} if "lambda_" in row else row for name, row in rows.items()}
    for name in ("absgd_ce_code", "absgd_cbce_code"):
        found |= {name: {**found[name], **README_100}} if name in found else {}
    return found | ({"sgd_ce_code": {**CODE, **PLAIN}} if "sgd_ce_code" in found else {})


GAMMAS = {
    "sgd_ce": {**CIFAR, **PLAIN},
    **{f"absgd_gamma{gamma:g}": {**CIFAR, **AB, "gamma": gamma} for gamma in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)},
    "absgd_beta0": {key: value for key, value in {**CIFAR, **AB}.items() if key != "momentum"},
    "absgd_beta0_rate10": {key: value for key, value in {**CIFAR, **AB, "rate": 1.0}.items() if key != "momentum"},
    "absgd_ce_eq2": {**CIFAR, **AB, "heavy_ball": 0.9},
    "sgd_ce_eq2": {**{k: v for k, v in {**CIFAR, **AB}.items() if k != "lambda_"}, "heavy_ball": 0.9},
}
FEATURES = {  # §4.3
    "absgd_decay": {**CIFAR, **AB, "first_lambda": 100.0, "lambda_": 1.0},
    "absgd_fixed": {
        k: v for k, v in {**CIFAR, **AB, "first_lambda": 100.0, "lambda_": 1.0}.items() if k != "from_epoch"
    },
}
HIDDEN = {
    **{name: TABLES_1_AND_2[name] for name in ("sgd_ce", "absgd_ce")},
    **{
        f"sgd_ce_rate{n}": {**CIFAR, **PLAIN, "rate_factor.factor": n, "rate_factor.from_epoch": 160}
        for n in (2.0, 3.0)
    },
    "absgd_ce_alpha0.5": {**CIFAR, **AB, "alpha": 0.5},
    "absgd_ce_uniform": {**CIFAR, **AB, "uniform": True},
    "absgd_ce_alpha0.5_uniform": {**CIFAR, **AB, "alpha": 0.5, "uniform": True},
}
HIDDEN = {name.replace(".0", ""): row for name, row in HIDDEN.items()}

# META: its own code (batches of 100, Nesterov, 5e-4, drops an epoch before those of its own steps)
META = {"uses": "meta", **SINCE, "beta": 0.9999, "weight_rate": 0.01, "meta_learning_rate": 0.1, "meta_loss": "own"}
META |= {"meta_milestones": [160, 180], "meta_factor": 0.01, "target_augment": True}
ITS_OWN = {**RESNET32, "batch": 100, "decay": 5e-4, "nesterov": True, **step([159, 179], 0.01)}
METAS = {"meta_ce": {}, "meta_focal": FOCAL, "meta_ldam": LDAM}
META_CIFAR = {name: {**ITS_OWN, **META, **loss} for name, loss in METAS.items()}
META_SHARED = {
    **{name: {**CIFAR, **META, **loss} for name, loss in METAS.items()},
    **{name: TABLES_1_AND_2[name] for name in ("sgd_cbce", "sgd_cbfocal", "sgd_cbldam")},
    **{name: TABLES_1_AND_2[name] for name in ("absgd_cbce", "absgd_cbfocal", "absgd_cbldam")},
}


def with_target(rows, size):
    return {name: {**row, "target_size": size} for name, row in rows.items()}


# Second stages: decoupling's second stages and rates; λ = 10 and 30 epochs of §4.2
def second(epochs, batch, rate, decay, schedule, sampling="class-aware"):
    said_ = {"epochs": epochs, "sampling": sampling, "batch_size": batch, "learning_rate": rate, "momentum": 0.9}
    return {**{f"second_stage.{key}": value for key, value in {**said_, "weight_decay": decay}.items()}, **schedule}


ONE = {"stage_one.sampling": "uniform"}
TAU = {"uses": "tau_norm", "tau_max": 2.0, "tau_step": 0.1}
DOWN, TEN_TWENTY = cosine("second_stage.schedule"), step([10, 20], 0.1, where="second_stage.schedule")
HEAD = {"uses": "absgd_head", "lambda_": 10.0, "gamma": 0.5, "alpha": 1.0}
TWO_STAGE = {
    "joint": {**CIFAR, **ONE, "uses": "joint"},
    "ncm": {**CIFAR, **ONE, "uses": "ncm"},
    "crt": {**CIFAR, **ONE, "uses": "crt", **second(10, 512, 0.2, 5e-4, DOWN)},
    "tau_norm": {**CIFAR, **ONE, **TAU},
    "lws": {**CIFAR, **ONE, "uses": "lws", **second(5, 512, 0.2, 5e-4, DOWN)},
    "absgd_head": {**CIFAR, **ONE, **HEAD, **second(30, 128, 0.1, 2e-4, TEN_TWENTY, "uniform")},
}
TWO_STAGE = {name: {**row, "validation_size": 1000} for name, row in TWO_STAGE.items()}

# --- the large sets: §4.2, §5.2, decoupling --------------------------------------------------------------------------

WEIGHTS_50 = {"weights": "data/raw/imagenet-weights/resnet50-0676ba61.pth", "weights_sha256": "0676ba61"}
WEIGHTS_152 = {"weights": "data/raw/imagenet-weights/resnet152-394f9c45.pth", "weights_sha256": "394f9c45"}
LARGE = {"net": "torchvision_resnet", "depth": 50, "momentum": 0.9}
IMAGENET = {**LARGE, "epochs": 90, "batch": 512, "rate": 0.2, "decay": 5e-4, **cosine()}
PLACES = {**IMAGENET, "depth": 152, **WEIGHTS_152, "trained_from": "layer4.2", "batch": 256, "rate": 0.01}
INATURALIST = {**IMAGENET, "epochs": 200, "decay": 1e-4}
CLOTHING = {
    **LARGE,
    **WEIGHTS_50,
    "epochs": 10,
    "batch": 128,
    "rate": 0.002,
    "decay": 0.01,
    "clip": 5.0,
    **step([5], 0.1),
}
ON_TEN = step([10], 0.1, where="second_stage.schedule")  # code: runs of 90 epochs
IMAGENET_LT = {
    "sgd_ce": {**IMAGENET, **PLAIN},
    "sgd_cbce": {**IMAGENET, **PLAIN, **CB, "class_balance.from_epoch": 72},  # ours: four fifths, as on CIFAR
    "ncm": {**IMAGENET, **ONE, "uses": "ncm"},
    "crt": {**IMAGENET, **ONE, "uses": "crt", **second(10, 512, 0.2, 5e-4, DOWN)},
    "absgd_head": {**IMAGENET, **ONE, **HEAD, **second(90, 512, 0.2, 5e-4, ON_TEN, "uniform")},
}
PLACES_LT = {
    "sgd_ce": {**PLACES, **PLAIN},
    "ncm": {**PLACES, **ONE, "uses": "ncm"},
    "crt": {**PLACES, **ONE, "uses": "crt", **second(10, 256, 0.1, 5e-4, DOWN)},
    "absgd_head": {**PLACES, **ONE, **HEAD, **second(30, 256, 0.01, 5e-4, TEN_TWENTY, "uniform")},
}
HEAD_CB = {"class_balance.beta": 0.9999, "class_balance.normalisation": "none"}  # Table 5: ABSGD (CB-CE)
INATURALIST_2018 = {
    "sgd_ce": {**INATURALIST, **PLAIN},
    "sgd_cbfocal": {**INATURALIST, **PLAIN, **CB, **FOCAL},
    "ncm": {**INATURALIST, **ONE, "uses": "ncm"},
    "crt": {**INATURALIST, **ONE, "uses": "crt", **second(30, 512, 0.2, 1e-4, DOWN)},
    "lws": {**INATURALIST, **ONE, "uses": "lws", **second(5, 512, 0.2, 1e-4, DOWN)},
    "absgd_head": {
        **INATURALIST, **WEIGHTS_50, **ONE, **HEAD, **HEAD_CB, **second(30, 512, 0.2, 1e-4, TEN_TWENTY, "uniform")
    },
}  # fmt: skip

# --- label noise: the script, row by row -----------------------------------------------------------------------------

NOISY = {"epochs": 120, "batch": 128, "momentum": 0.9, "clip": 5.0, **step([40, 80], 0.1)}  # §5.1; code (clip)
CNN = {**NOISY, "net": "sce_cnn", "layer_weight_decay.fc1": 0.01, "decay": 5e-3}
RESNET = {**NOISY, "net": "resnet_cifar"}
TCE = {"loss.name": "gce", "loss.q": 0.7, "loss.truncation": 0.5, "loss.refresh_from": 81, "loss.refresh_every": 1}


def sce(alpha, beta):
    return {"loss.name": "sce", "loss.alpha": alpha, "loss.beta": beta}


def noise(base, loss, lambda_, gamma, code, plain, truncated):
    """The methods of Table 6 and its controls: SGD, EG and ABSGD on one SCE; `code` is the script's ABSGD (SCE)."""
    eg = {**base, "uses": "eg", "from_epoch": 80, "lambda_": lambda_, **loss}
    ab = {**base, "uses": "absgd", "from_epoch": 80, "lambda_": lambda_, "gamma": gamma, "alpha": 1.0, **loss}
    return {
        "sgd_ce": {**base, **PLAIN, **plain},
        "sgd_tce": {**base, **PLAIN, **TCE, **truncated},
        "sgd_sce": {**base, **PLAIN, **loss},
        "eg_sce": eg,
        "eg_sce_persistent": {**eg, "persistent": True},
        "absgd_sce": ab,
        "absgd_sce_uniform": {**ab, "uniform": True},
        "absgd_sce_code": {**ab, "alpha": 0.5, "uniform": True, **code},
    }


SLOW, FAST, NORMED = {"rate": 0.001}, {"rate": 0.01}, {"loss.normalise_logits": True}
TCE_VALUES = {"rate": 0.01, "decay": 1e-4}
NOISE_10 = {
    "sym": noise({**CNN, **FAST}, sce(0.2, 2.0), -0.5, 0.9, sce(0.1, 2.0), {}, TCE_VALUES),
    "asym0.2": noise({**CNN, **FAST}, sce(0.2, 2.0), -2.0, 0.9, {**sce(6.0, 2.0), **NORMED, **SLOW}, SLOW, TCE_VALUES),
    "asym0.4": noise({**CNN, **SLOW}, sce(6.0, 2.0), -2.0, 0.9, NORMED, {}, TCE_VALUES),
}
SYM_100 = {**RESNET, "depth": 18, "rate": 0.01, "decay": 0.01}
ASYM_100 = {**RESNET, "depth": 34, "rate": 0.1, "decay": 5e-3}
LAST = {"rate": 0.01, "decay": 5e-3}  # the script's only TCE with another decay: CIFAR-100, asymmetric 0.4
NOISE_100 = {
    "sym": noise(SYM_100, sce(6.0, 0.5), -5.0, 0.5, NORMED, {}, TCE_VALUES),
    "asym0.2": noise(ASYM_100, sce(0.7, 0.1), -3.0, 0.9, sce(0.4, 0.1), TCE_VALUES, TCE_VALUES),
    "asym0.4": noise(ASYM_100, sce(0.7, 0.1), -3.0, 0.9, sce(0.4, 0.1), TCE_VALUES, LAST),
}
TABLE_6 = ("sgd_ce", "sgd_tce", "sgd_sce", "eg_sce", "absgd_sce")


def of(rows, *methods):
    return {name: rows[name] for name in methods}


SYM_10 = NOISE_10["sym"]
HIDDEN_NOISE = {
    **of(SYM_10, "sgd_sce", "absgd_sce", "absgd_sce_uniform"),
    **{
        f"sgd_sce_rate{n}": {**SYM_10["sgd_sce"], "rate_factor.factor": float(n), "rate_factor.from_epoch": 80}
        for n in (2, 3)
    },
    "absgd_sce_alpha0.5": {**SYM_10["absgd_sce"], "alpha": 0.5},
    "absgd_sce_alpha0.5_uniform": {**SYM_10["absgd_sce"], "alpha": 0.5, "uniform": True},
}
SYMMETRIC = NOISE_100["sym"]
NORMALISED_LOGITS = {
    **of(SYMMETRIC, "sgd_ce", "sgd_sce", "absgd_sce"),
    "sgd_ce_norm": {**SYMMETRIC["sgd_ce"], "loss.name": "cross_entropy", **NORMED},
    "sgd_sce_norm": {**SYMMETRIC["sgd_sce"], **NORMED},
    "absgd_sce_norm": {**SYMMETRIC["absgd_sce"], **NORMED},
}


def clothing(method, loss, **more):
    """Table 7: one rate and decay for all (§5.2); λ, γ and SCE's α of README, β of the code, all from epoch 5."""
    from_five = {"loss.refresh_from": 5} if loss is TCE else {}
    return {**CLOTHING, **method, **loss, **from_five, **more}


EG_5 = {"uses": "eg", "lambda_": -5.0, "from_epoch": 5}
AB_5 = {"uses": "absgd", "lambda_": -5.0, "from_epoch": 5, "gamma": 0.5, "alpha": 1.0}
TABLE_7 = {
    f"{name}_{loss}": clothing(method, said_)
    for name, method in (("sgd", PLAIN), ("eg", EG_5), ("absgd", AB_5))
    for loss, said_ in (("ce", {}), ("sce", sce(0.1, 1.0)), ("tce", TCE))
}

# --- all of it -------------------------------------------------------------------------------------------------------

LT, LT_ST = ("lt-rho100", "lt-rho10"), ("lt-rho100", "lt-rho10", "st-rho100", "st-rho10")
EXPECTED = {
    **{("cifar10", setting): TABLES_1_AND_2 for setting in LT_ST},
    **{("cifar100", setting): on_cifar100(TABLES_1_AND_2) for setting in LT_ST},
    ("cifar10-varied", "lt-rho100"): of(TABLES_1_AND_2, "sgd_ce", "absgd_ce"),
    ("gamma-cifar10", "lt-rho100"): GAMMAS,
    ("gamma-cifar100", "lt-rho100"): on_cifar100(GAMMAS),
    ("features", "lt-rho100"): FEATURES,
    **{
        ("weights", setting): {"absgd_ce": {**CIFAR, **AB, "lambda_": 3.0, "log_weights": True}}
        for setting in ("lt-rho100", "st-rho100")
    },
    ("hidden-rate", "lt-rho100"): HIDDEN,
    **{("meta-cifar10", setting): with_target(META_CIFAR, 100) for setting in LT},
    **{("meta-cifar100", setting): with_target(META_CIFAR, 1000) for setting in LT},
    **{("meta-shared-cifar10", setting): with_target(META_SHARED, 100) for setting in LT},
    **{("meta-shared-cifar100", setting): with_target(on_cifar100(META_SHARED), 1000) for setting in LT},
    ("two-stage", "lt-rho100"): TWO_STAGE,
    ("imagenet-lt", "resnet50"): IMAGENET_LT,
    ("places-lt", "resnet152"): PLACES_LT,
    ("inaturalist2018", "resnet50"): INATURALIST_2018,
    ("inaturalist2018", "resnet152"): {
        name: {**row, "depth": 152, **(WEIGHTS_152 if name == "absgd_head" else {})}
        for name, row in INATURALIST_2018.items()
    },
    ("clothing1m", "noisy"): TABLE_7,
    **{("noise-cifar10", setting): NOISE_10["sym"] for setting in ("sym0.2", "sym0.4")},
    **{("noise-cifar10", setting): NOISE_10[setting] for setting in ("asym0.2", "asym0.4")},
    **{("noise-cifar100", setting): NOISE_100["sym"] for setting in ("sym0.2", "sym0.4")},
    **{("noise-cifar100", setting): NOISE_100[setting] for setting in ("asym0.2", "asym0.4")},
    **{("noise-cifar10-ported", at): of(NOISE_10[at], "sgd_sce", "absgd_sce") for at in ("asym0.2", "asym0.4")},
    ("noise-cifar100-pairs", "asym0.4"): of(NOISE_100["asym0.4"], "sgd_sce", "absgd_sce"),
    ("noise-cifar100-resnet34", "sym0.4"): {
        name: {**row, "depth": 34} for name, row in of(SYMMETRIC, "sgd_ce", "sgd_sce", "absgd_sce").items()
    },
    **{("human-noise-cifar10", labels): of(SYM_10, *TABLE_6) for labels in ("aggregate", "random1", "worse")},
    ("human-noise-cifar100", "noisy"): of(SYMMETRIC, *TABLE_6),
    **{("normalised-logits", setting): NORMALISED_LOGITS for setting in ("sym0.2", "sym0.4")},
    ("hidden-rate-noise", "sym0.4"): HIDDEN_NOISE,
}


@pytest.mark.parametrize(("experiment", "setting"), EXPECTED, ids=lambda part: part)
def test_every_method_has_the_values_of_its_sources(config, experiment, setting):
    one = config.experiment("absgd", experiment)
    methods = [name for name in one.with_extensions if name not in one.placeholders]
    found = {name: said(config.resolve(f"paper/absgd/{experiment}/{setting}/{name}/seed0")) for name in methods}
    for name in methods:
        assert found[name] == EXPECTED[experiment, setting].get(name), name
    assert methods and set(EXPECTED[experiment, setting]) == set(methods)


def test_no_cell_is_left_out(config):
    """The tuning runs vary what they tune; tests/papers/test_absgd_config.py looks at those."""
    every = {
        (name, setting)
        for name, one in config.paper("absgd").experiments.items()
        if not name.startswith("tuning-")
        for setting in one.settings
    }
    assert every == set(EXPECTED)


def test_what_the_large_sets_cannot_have_is_a_placeholder(config):
    found = {name: set(one.placeholders) for name, one in config.paper("absgd").experiments.items() if one.placeholders}
    assert found == {
        "imagenet-lt": {"joint", "tau_norm", "meta_ce"},
        "places-lt": {"joint", "tau_norm", "meta_ce"},
        "inaturalist2018": {"tau_norm", "meta_ce", "meta_focal"},
    }


# --- images -----------------------------------------------------------------------------------------------------------

LDAM_DRW = ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])  # for both data sets
IN_NOISE_10 = ([0.49139968, 0.48215827, 0.44653124], [0.24703233, 0.24348505, 0.26158768])
IN_NOISE_100 = ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762])
OF_META = tuple([value / 255 for value in values] for values in ((125.3, 123.0, 113.9), (63.0, 62.1, 66.7)))
OF_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TURNED = {"crop_padding": 4, "padding": "zero", "flip": True, "rotation_degrees": 20.0}
REFLECTED = {"crop_padding": 4, "padding": "reflect", "flip": True, "rotation_degrees": 0.0}
PREPARED = {  # experiment -> mean and sd, augmentation, seed of all splits (code: rand_number = 0; noise 123)
    **dict.fromkeys(("cifar10", "cifar100", "gamma-cifar10", "gamma-cifar100"), (LDAM_DRW, "crop-flip", 0)),
    **dict.fromkeys(("features", "weights", "hidden-rate", "two-stage"), (LDAM_DRW, "crop-flip", 0)),
    **dict.fromkeys(("meta-shared-cifar10", "meta-shared-cifar100"), (LDAM_DRW, "crop-flip", 0)),
    "cifar10-varied": (LDAM_DRW, "crop-flip", None),
    **dict.fromkeys(("meta-cifar10", "meta-cifar100"), (OF_META, REFLECTED, 0)),
    **dict.fromkeys(("noise-cifar10", "noise-cifar10-ported", "human-noise-cifar10"), (IN_NOISE_10, "crop-flip", 123)),
    "hidden-rate-noise": (IN_NOISE_10, "crop-flip", 123),
    **dict.fromkeys(("noise-cifar100", "noise-cifar100-pairs", "noise-cifar100-resnet34"), (IN_NOISE_100, TURNED, 123)),
    **dict.fromkeys(("human-noise-cifar100", "normalised-logits"), (IN_NOISE_100, TURNED, 123)),
    **dict.fromkeys(("imagenet-lt", "places-lt", "inaturalist2018", "clothing1m"), (OF_IMAGENET, "none", None)),
}


@pytest.mark.parametrize(("experiment", "setting"), EXPECTED, ids=lambda part: part)
def test_images_are_prepared_as_their_codes_prepare_them(config, experiment, setting):
    (mean, sd), augment, seed = PREPARED[experiment]
    for method in EXPECTED[experiment, setting]:
        data = config.resolve(f"paper/absgd/{experiment}/{setting}/{method}/seed0")["data"]
        assert data["scale_inputs"]["mean"] == pytest.approx(mean, abs=1e-8)
        assert data["scale_inputs"]["std"] == pytest.approx(sd, abs=1e-8)
        assert (data["augment"], data["split"].get("fixed_seed")) == (augment, seed)
        assert (data["split"]["test"], data["split"]["test_size"]) == ("all", None)
        assert data["split"]["kind"] == (
            "step" if setting.startswith("st-") else "long-tail" if "rho" in setting else "all"
        )
