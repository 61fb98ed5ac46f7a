"""Steps from names as training scripts write them: right, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.errors import InputError
from dmft.trajectory.runs.patterns import steps_by_pattern
from dmft.trajectory.runs.steps import read_steps
from dmft.trajectory.series import open_series

# names of checkpoints, and their steps; None: left out
RIGHT = {
    "lightning": (
        ["epoch=02-val_loss=0.32.ckpt", "epoch=10-val_loss=0.12.ckpt", "last.ckpt"],
        [2, 10, None],
    ),
    "lightning steps": (["epoch=0-step=9.ckpt", "epoch=1-step=18.ckpt"], [9, 18]),
    "lightning last": (["step=1.ckpt", "step=2.ckpt", "last-v1.ckpt"], [1, 2, None]),
    "logged on step": (["epoch=1-train_loss_step=0.9.ckpt", "epoch=2-train_loss_step=0.1.ckpt"],
                       [1, 2]),
    "fractional epochs": (["epoch0.5.pt", "epoch10.0.pt", "epoch2.5.pt"], [0.5, 10, 2.5]),
    "fractional": (["0.5.pt", "10.0.pt", "2.5.pt"], [0.5, 10, 2.5]),
    "run": (["run3_epoch1_loss0.9.pt", "run3_epoch10_loss0.1.pt"], [1, 10]),
    "accuracy": (["net_5_acc92.1.pt", "net_10_acc91.0.pt"], [5, 10]),
    "whole accuracy": (["net_5_acc92.pt", "net_10_acc91.pt"], [5, 10]),
    "date and step": (["20240105_step5.pt", "20240106_step10.pt"], [5, 10]),
    "time and number": (["m_20240105-120000_5.pt", "m_20240105-130000_10.pt"], [5, 10]),
    "time stamps": (["1700000000_10.pt", "1700003600_20.pt"], [10, 20]),
    "keras": (["weights.03-0.85.hdf5", "weights.10-0.25.hdf5"], [3, 10]),
    "trainer": (["checkpoint-1000", "checkpoint-500"], [1000, 500]),
    "stable-baselines": (["rl_model_1000_steps.pt", "rl_model_500_steps.pt"], [1000, 500]),
    "thousands": (["ckpt_500k.pt", "ckpt_1M.pt", "ckpt_1.5M.pt"], [5e5, 1e6, 1.5e6]),
    "thousands of steps": (["10ksteps.pt", "5ksteps.pt"], [10000, 5000]),
    "commas": (["step_1,000.pt", "step_10,000.pt", "step_500.pt"], [1000, 10000, 500]),
    "fairseq": (["checkpoint_1_500.pt", "checkpoint_1_1000.pt", "checkpoint_2_1500.pt",
                 "checkpoint_best.pt"], [500, 1000, 1500, None]),
    "exponents": (["e1_loss1e-05.pt", "e2_loss3e-06.pt", "e10_loss0.1.pt"], [1, 2, 10]),
    "nan": (["epoch=1-loss=nan.ckpt", "epoch=2-loss=0.3.ckpt"], [1, 2]),
    "negative": (["epoch_1_reward_-5.3.pt", "epoch_10_reward_12.1.pt"], [1, 10]),
    "attached": (["e1acc92.pt", "e10acc91.pt"], [1, 10]),
    "word behind": (["10ep_92acc.pt", "5ep_93acc.pt"], [10, 5]),
    "ordinal": (["5th_epoch.pt", "10th_epoch.pt"], [5, 10]),
    "camel case": (["modelEpoch10ValLoss0.3.pt", "modelEpoch9ValLoss0.5.pt"], [10, 9]),
    "tokens": (["step1000-tokens4B", "step2000-tokens8B"], [1000, 2000]),
    "deepspeed": (["global_step100", "global_step20", "latest"], [100, 20, None]),
    "timm": (["checkpoint-0.pth.tar", "checkpoint-10.pth.tar", "last.pth.tar",
              "model_best.pth.tar"], [0, 10, None, None]),
    "diffusion": (["model010000.pt", "ema_0.9999_010000.pt", "opt010000.pt", "model020000.pt",
                   "ema_0.9999_020000.pt", "opt020000.pt"], [10000, None, None, 20000, None, None]),
    "composer": (["ep0-ba0-rank0.pt", "ep0-ba900-rank0.pt", "ep2-ba10000-rank0.pt",
                  "latest-rank0.pt"], [0, 900, 10000, None]),
    "of": (["iter_10_of_100.pt", "iter_20_of_100.pt"], [10, 20]),
    "batch size": (["bs64_10.pt", "bs64_20.pt"], [10, 20]),
    "rates": (["lr0.1_3.pt", "lr0.05_4.pt"], [3, 4]),
    "vision": (["cifar10_resnet18_ep005_top1_93.2.pth", "cifar10_resnet18_ep100_top1_95.2.pth"],
               [5, 100]),
    "exponents of steps": (["step5e3.pt", "step1e4.pt", "step1.5e3.pt"], [5000, 10000, 1500]),
    "exponents before": (["PPO_5e5_steps.pt", "PPO_1e6_steps.pt"], [5e5, 1e6]),
    "epochs of a run": (["run1e5.pt", "run1e10.pt"], [5, 10]),
    "hashes": (["epoch1-3e10.pt", "epoch2-5e11.pt", "epoch10-1e12.pt"], [1, 2, 10]),
    "rounds": (["round1_epoch5.pt", "round2_epoch10.pt"], [5, 10]),
    "cycles": (["snapshot_cycle_2.pt", "snapshot_cycle_10.pt"], [2, 10]),
    "rates before": (["lr1e-4_step100.pt", "lr5e-5_step1000.pt", "lr1e-4_step20.pt"],
                     [100, 1000, 20]),
    "epochs of a seed": (["seed1e2.pt", "seed1e10.pt", "seed1e3.pt"], [2, 10, 3]),
    "days": (["2024-05-01_step10.pt", "2024-05-01_step9.pt", "2024-05-02_step100.pt"],
             [10, 9, 100]),
    "one phase": (["phase2_step100.pt", "phase2_step1000.pt", "phase2_step20.pt"],
                  [100, 1000, 20]),
    "stages": (["stage1-epoch3.pt", "stage2-epoch10.pt"], [3, 10]),
    "resumed": (["resume_3_step_200.pt", "resume_3_step_1000.pt"], [200, 1000]),
    "weeks": (["week2.pt", "week10.pt"], [2, 10]),
    "cycle of a name": (["motorcycles-10.pt", "motorcycles-9.pt"], [10, 9]),
    "generations": (["gen12_ind3.pt", "gen9_ind3.pt"], [12, 9]),
    "generators": (["10_net_G_A.pth", "9_net_G_A.pth", "latest_net_G_A.pth"], [10, 9, None]),
    "of many": (["ckpt-10-of-20.pt", "ckpt-2-of-20.pt"], [10, 2]),
    "exponents of thousands": (["step5e2k.pt", "step1e3k.pt"], [500000, 1000000]),
    "unsharded": (["step1000-unsharded", "step10000-unsharded", "step2000-unsharded"],
                  [1000, 10000, 2000]),
    "megatron": (["iter_0000500", "iter_0010000", "latest_checkpointed_iteration.txt"],
                 [500, 10000, None]),
    "detectron": (["model_0004999.pth", "model_0009999.pth", "model_final.pth"],
                  [4999, 9999, None]),
    "best of detection": (["epoch_1.pth", "epoch_12.pth", "best_coco_bbox_mAP_epoch_10.pth"],
                          [1, 12, None]),
    "beside": (["step10.npz", "step20.npz", "init.npz", "final.npz", "metrics.npz"],
               [10, 20, None, None, None]),
}  # fmt: skip

# what has no single reading, and a word of the refusal
REFUSED = {
    "two numbers": (["5_92.pt", "6_93.pt"], "place 1 .* or the number in place 2"),
    "fraction first": (["0.5_92.pt", "1.0_93.pt"], "may be the number"),
    "dates only": (["2024-01-05.pt", "2024-01-06.pt"], "without a step.*date"),
    "time stamps only": (["m_1700000000.pt", "m_1700003600.pt"], "without a step"),
    "seeds": (["seed1.pt", "seed2.pt"], "without a step.*'seed'"),
    "results": (["loss0.3.pt", "loss0.5.pt"], "without a step.*'loss'"),
    "several runs": (["seed1_step10.pt", "seed2_step20.pt"], "several runs"),
    "steps of an epoch": (["epoch1_step100.pt", "epoch1_step200.pt", "epoch2_step100.pt"],
                          "begin anew"),
    "iterations of an epoch": (["epoch1_iter900.pt", "epoch2_iter100.pt"], "begin anew"),
    "versions": (["v1.0.3.pt", "v1.0.10.pt"], "no single number"),
    "one number or two": (["m1.9.pt", "m1.10.pt"], "one number or as two"),
    "two numbers of one": (["m1.9.pt", "m1.11.pt"], "one number or as two"),
    "exponents or epochs": (["net_5e3.pt", "net_1e4.pt"], "no single number"),
    "epochs of a cycle": (["cycle1_epoch5.pt", "cycle2_epoch1.pt"], "several runs.*'cycle'"),
    "epochs of a round": (["round1_epoch5.pt", "round2_epoch1.pt"], "'round' .* or .* 'epoch'"),
    "steps of a round": (["round_1_step_900.pt", "round_2_step_100.pt"], "'round' .* or .* 'step'"),
    "hours of a day": (["day1_hour12.pt", "day2_hour03.pt"], "'day' .* or .* 'hour'"),
    "steps of a resumed run": (["resume_1_step_200.pt", "resume_2_step_100.pt"],
                               "'resume' .* or .* 'step'"),
    "steps of a date": (["2024-05-01_step10.pt", "2024-05-02_step9.pt"],
                        "place 1 .2024-05-01, .* or .* 'step'"),
    "days of a week": (["week1_day3.pt", "week2_day1.pt"], "'week' .* or .* 'day'"),
    "steps of a chunk": (["chunk1_step5.pt", "chunk2_step3.pt"], "'chunk' .* or .* 'step'"),
    "shards of one model": (["consolidated.00.pth", "consolidated.01.pth"], "'consolidated'"),
    "time to go": (["remaining_10.pt", "remaining_5.pt"], "without a step"),
    "two networks": (["G_1000.pth", "D_1000.pth", "G_2000.pth", "D_2000.pth"],
                     r"differ in more.*--steps 'G_\{step\}'"),
}  # fmt: skip


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("case", RIGHT)
def test_steps(case, order):
    names, steps = (values[::order] for values in RIGHT[case])
    found = read_steps(names, "here")
    assert list(found.steps) == steps
    assert set(found.left_out) == {n for n, s in zip(names, steps, strict=True) if s is None}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_show_the_readings(case):
    names, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as caught:
        read_steps(names, "here")
    assert "--steps" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "names", "steps"),
    [
        ("{step}_*", ["5_92.pt", "6_93.pt"], [5, 6]),
        ("G_{step}", ["G_1000.pth", "D_1000.pth", "G_20.pth"], [1000, None, 20]),
        ("epoch{epoch}_step{step}", ["epoch2_step100.pt", "epoch1_step200.pt"], [1, 0]),
        ("m_{date}", ["m_2024-01-06.pt", "m_2024-01-05.pt"], [86400, 0]),
        ("*_{step}k.pt", ["a_5k.pt", "b_10k.pt"], [5, 10]),
    ],
)
def test_a_pattern_decides(pattern, names, steps):
    assert list(steps_by_pattern(names, pattern, "here").steps) == steps


@pytest.mark.parametrize("pattern", ["epoch", "{seed}", "{step}_{step}", "x{step}"])
def test_bad_patterns(pattern):
    with pytest.raises(InputError, match="steps: given"):
        steps_by_pattern(["1_a.npz", "2_a.npz"], pattern, "here")


def save(folder, *names):
    for name in names:
        np.savez(folder / f"{name}.npz", a=np.arange(3.0) * len(name))
    return [folder / f"{name}.npz" for name in names]


def test_files_one_by_one_are_put_in_order(tmp_path):
    paths = save(tmp_path, "step1", "step10", "step2")
    series = open_series(paths)
    assert series.step.tolist() == [1, 2, 10]
    assert [c.name for c in series.checkpoints] == [str(paths[i]) for i in (0, 2, 1)]
    assert open_series(paths, steps="order").step.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="may be"):
        open_series(save(tmp_path, "5_92", "6_93"))


def test_files_given_twice_or_missing(tmp_path):
    paths = save(tmp_path, "step1", "step10", "step2")
    with pytest.raises(InputError, match=r"step1.npz: given twice; --steps order"):
        open_series([paths[0], paths[1], paths[0]])
    assert len(open_series([paths[0], paths[1], paths[0]], steps="order").checkpoints) == 3
    for steps in (None, "order"):
        with pytest.raises(InputError, match=r"lost.npz: no such file"):
            open_series([*paths, tmp_path / "lost.npz"], steps=steps)


def test_files_of_one_name_in_several_folders(tmp_path):
    paths = []
    for step in (10, 9):
        folder = tmp_path / f"step{step}"
        folder.mkdir()
        paths += save(folder, "model")
    assert open_series(paths).step.tolist() == [9, 10]


def test_a_folder_takes_no_given_order(tmp_path):
    save(tmp_path, "1", "2")
    with pytest.raises(InputError, match="'order' for a folder"):
        open_series(tmp_path, steps="order")
