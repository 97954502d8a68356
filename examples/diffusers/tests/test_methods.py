# SPDX-FileCopyrightText: Copyright (c) 2026 The tempflow authors
# SPDX-License-Identifier: Apache-2.0
"""What a method does at an update: its windows, its chain, what it costs; and what finished samples are noised to."""

from types import SimpleNamespace

import pytest
import torch
from command_line import read_options
from conftest import run
from credit import Part
from finished import FinishedBatches, sample
from methods import METHODS
from plans import Course

import tempflow

SHAPE = (2, 3, 4)


def course_of(method: str, *arguments, update: int = 0, share: int = 4, first_seed: int = 0) -> Course:
    options = read_options(["--tiny", "--method", method, "--steps", "10", "--trained-steps", "9", "--output", "unused",
                            *map(str, arguments)])
    alone = SimpleNamespace(share=share, first_seed=first_seed)
    return Course(METHODS[method], options, alone, tempflow.sigmas("sd3", options.steps), update)


@pytest.mark.parametrize("update, steps", [(0, [0, 1, 2, 3]), (24, [0, 1, 2, 3]), (25, [1, 2, 3, 4]), (149, [5, 6, 7, 8]),
                                           (150, [0, 1, 2, 3])])
def test_the_window_of_mix_grpo_slides_over_the_trained_steps(update, steps):
    course = course_of("mix-grpo", update=update)
    assert course.steps == steps == (course.chain.std > 0).nonzero().flatten().tolist() and len(course.chain) == 10


def test_the_flash_form_walks_fewer_steps_behind_its_window():
    whole, flash = course_of("mix-grpo", update=40), course_of("mix-grpo-flash", update=40)
    assert whole.steps == [1, 2, 3, 4] and flash.steps == [2, 3, 4, 5]  # it slides every 20 updates
    remaining = 10 - 6
    assert len(flash.chain) == 6 + int(0.4 * remaining) and torch.equal(flash.chain.sigmas[:7], whole.chain.sigmas[:7])
    assert set(flash.chain.sigmas.tolist()) < set(whole.chain.sigmas.tolist()) and flash.chain.sigmas[-1] == 0
    assert [node.solver for node in flash.plan.nodes] == [0, 1, 1, 0, 0, 0, 0, 1]
    assert len(course_of("mix-grpo-flash", update=60).chain) == 7 + 1  # one step at least


def test_the_window_of_flow_grpo_fast_is_random_in_the_noisy_half():
    starts = {update: course_of("flow-grpo-fast", update=update).steps for update in range(40)}
    assert all(steps[1] == steps[0] + 1 and 0 <= steps[0] and steps[1] < 5 for steps in starts.values())
    assert {steps[0] for steps in starts.values()} == {0, 1, 2, 3}
    assert starts[7] == course_of("flow-grpo-fast", update=7).steps
    assert starts != {update: course_of("flow-grpo-fast", "--seed", 1, update=update).steps for update in range(40)}


def test_samples_share_what_lies_before_they_part():
    """Evaluations of the model for a prompt, with 4 noises of 6 samples each, or 24 samples."""
    def evaluations(method, **options):
        share = 4 if METHODS[method].seeds_explore else 24
        course = course_of(method, share=share, **options)
        return course.plan.cost(1).model_evaluations

    assert evaluations("flow-grpo") == 24 * 10 and evaluations("dance-grpo") == 1 + 24 * 9
    fork = course_of("flow-grpo-fast", update=3).steps[0]
    assert evaluations("flow-grpo-fast", update=3) == 4 * (fork + 1) + 24 * (9 - fork)
    # Two branches more behind each of the steps 0, 2, 4 and 6 (9 trained steps, 4 splits).
    assert evaluations("branch-grpo") == 4 * (1 + 2 * 2 + 2 * 4 + 2 * 8 + 3 * 16)


def test_each_weight_of_a_step_is_the_papers():
    courses = {name: course_of(name) for name in ("tempflow-grpo", "flow-grpo", "grpo-guard")}
    std, dt = courses["flow-grpo"].chain.std[:9], courses["flow-grpo"].chain.table[:9, 5]
    torch.testing.assert_close(courses["tempflow-grpo"].weights[:9], std / std.mean())
    torch.testing.assert_close(courses["grpo-guard"].weights[:9], (1 / dt) / (1 / dt).mean())
    assert courses["flow-grpo"].weights.tolist() == [1] * 10


class Processes(SimpleNamespace):
    """Those of a run, whose gather has all values at hand."""

    def gather(self, value):
        return [value, *self.others]


def finished_parts(course, prompts):
    rollout = sample(lambda x, sigma, prompts: x * 0.5, course, prompts, (42, 3), shape=SHAPE)
    values = torch.arange(len(rollout.identities), dtype=torch.float64) - 1  # the second is 0
    return [Part(rollout, {}, tempflow.Advantages(values, [2], None))]


@pytest.mark.parametrize("method, skipped", [("nft", 1), ("awm", 2)])
def test_finished_samples_are_noised_again_to_each_level(method, skipped):
    course = course_of(method)
    parts = finished_parts(course, [5, 2])
    batches = FinishedBatches(parts, course, leave_out=[[7]], size=7, skip_zeros=METHODS[method].skips_zeros,
                              processes=Processes(rank=0, others=[80]))
    samples, seen = parts[0].rollout.samples, set()
    assert batches.rows == (7 - skipped) * 9 + 80 and len(list(batches)) == 12  # as many as the other process has
    for batch in batches:
        assert batch.mean_over == batches.rows
        for row in range(len(batch.rows)):
            index = next(i for i, x0 in enumerate(samples) if torch.equal(x0, batch.y[row]))
            step = int((course.chain.sigmas.float() == batch.sigma[row]).nonzero())
            t, who = course.chain.sigmas[step], parts[0].rollout.identities[index]
            z = tempflow.noise(torch.tensor([[who.prompt, who.seed, step, 0]]), SHAPE, (42, 3))[0]
            torch.testing.assert_close(batch.x[row].double(), (1 - t) * samples[index].double() + t * z.double())
            assert batch.advantages[row] == index - 1 and batch.prompts[row] == who.prompt and batch.weights[row] == 1
            torch.testing.assert_close(batch.transitions[row, :4], torch.stack([t * 0 + 1, -t, t * 0, t]))
            seen.add((index, step))
    left = {0, 1, 3, 4, 5, 6} - ({1} if METHODS[method].skips_zeros else set())  # 2 has no reward, 7 was left out
    assert seen == {(i, step) for i in left for step in range(9)}
    assert [batch.completes_update for batch in batches] == [False] * 11 + [True]
    assert all(len(batch.x) == 1 and not len(batch.rows) for batch in list(batches)[8:])  # to stay in step


def test_processes_have_the_samples_of_one():
    whole = finished_parts(course_of("nft", share=4), [5, 2])[0].rollout
    half = finished_parts(course_of("nft", share=2, first_seed=2), [5, 2])[0].rollout
    found = {(s.prompt, s.seed): x for s, x in zip(whole.identities, whole.samples)}
    assert len(found) == 8 and all(torch.equal(found[s.prompt, s.seed], x) for s, x in zip(half.identities, half.samples))


def test_help_tells_the_methods(capsys):
    for words in (["--method", "help"], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            run(*words, tiny=False)
        assert ended.value.code == 0
