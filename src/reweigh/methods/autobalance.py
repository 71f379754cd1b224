"""AutoBalance (Li, Zhang, Thrampoulidis, Chen, Oymak, NeurIPS 2021): validation data design the training loss.

θ is the model, α the design: offsets l and raw multipliers Δ of the parametric loss (eq. 2.2; 4.2 by class and group),
or the single τ of logit adjustment. Predictions are the argmax of the raw logits f.

    search, on S_T (Algorithm 1), `search_epochs` epochs from random θ:
        θ ← step along ∇_θ L_T(θ, α),     L_T = Σ w ℓ(s(Δ) f + l) / Σ w
        from epoch `from_epoch` on, every `outer_every` steps of an epoch, with B_T, B_V of `batches` batches each:
            v = ∇_θ L_V(θ; B_V),  H = ∇²_θ L_T(θ, α; B_T)             L_V: `upper`, of raw logits
            p = ε Σ_{j=0}^{J} (I − ε H)ʲ v  ≈ H⁻¹ v                   J = `terms`, ε = `neumann_step`
            α ← step along −(∂/∂α) ⟨∇_θ L_T(θ, α; B_T), p⟩
    retrain, on S_T ∪ S_V: random θ, the last α frozen: θ ← step along ∇_θ L(θ, α)

| option         | printed                            | the authors' code (ucr-optml/AutoBalance at 8b4bd4c)           |
|----------------|------------------------------------|----------------------------------------------------------------|
| weights        | inverse: w = 1/n_y, of S_T         | none                                                           |
| upper rate     | 0.05                               | 0.01 or 0.1, with a linear warm-up                             |
| order, cadence | inner-first, every step, one batch | outer-first, every 20 or 30 steps, 10 + 10 batches             |
| coast          | false                              | true: one more upper step after each inner one, without a      |
|                |                                    | gradient: momentum and weight decay go on (torch < 2)          |
| expand         | piecewise (fitted: see below)      | interpolated over class rank at the retraining                 |
| take           | end                                | last-epoch: α as it was before the search's last epoch         |
| the sign       | +                                  | −, as the implicit function theorem has it; and here           |

Weight decay and momentum of θ are no part of L_T. All passes for α use batch statistics, change no running ones, and
draw their own batches; those of S_V are augmented as training is, which the paper does not say. `products` with H make
the graph of one batch at a time ("reverse"), keep those of all ("kept", faster, with their memory), or are those of the
other routes of `hypergrad/implicit.py`. `solver` "cg" and "exact" (linear models) solve (H + `damping` I) p = v. The
`neumann_step` "auto" is one over the largest eigenvalue that the products see, of either sign, so that no direction of
positive curvature changes its sign but by what they do not see. λ_max and the share of ‖v‖² in directions with
eigenvalues beyond 2, where ε = 1 turns them, come from the products that are made anyway (`hypergrad/krylov.py`), and
are logged at every outer step.

`expand` "fitted" is a control: the retraining gets the VS loss whose τ and γ are nearest to α. What it loses against α
is what the search found beyond two numbers; the trace has them.

With `augmentation` α also has, or has alone, the strengths of an augmentation policy: one for each class cluster (PDA)
or one for all (MADAO). Training batches of the search pass through it relaxed, those of the retraining sampled; those
of S_V do not. `threshold` is of `methods/thresholded.py`, chosen at the end of the search.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from reweigh.data.augmentation_policy import MAGNITUDE, OPERATION, PROBABILITY, Policy
from reweigh.data.batches import Batch, InputPart, Stream
from reweigh.errors import ConfigError
from reweigh.hypergrad import linear_head
from reweigh.hypergrad.implicit import TrainingGradient, Vector, mean_gradient
from reweigh.hypergrad.krylov import Krylov, krylov
from reweigh.hypergrad.lookahead import JointLoss, Parameters
from reweigh.losses import parametric
from reweigh.losses.design import Design
from reweigh.losses.objectives import Objective, groups_of
from reweigh.methods import base, thresholded
from reweigh.models.layers import dropout_layers
from reweigh.optimisers import MomentumSGD
from reweigh.streams import rng, stream_seed

FLIPS = 2.0  # the eigenvalue beyond which ε = 1 with an even number of summands turns a direction


class Method(thresholded.Method):
    def __init__(self, options: dict[str, Any], context: base.RunContext) -> None:
        super().__init__(options, context)
        if context.validation is None:
            raise ConfigError("autobalance: the split holds nothing out; give it a validation part")
        self.design = Design(
            _cells(context, options["by"]), options["design"], options["start"], options["multiplier"],
            options["cluster_size"],
        )  # fmt: skip
        self.multiplier, self.offset = self.design.tables()  # those of the training loss, now
        self.policy = self._policy()
        self.batch_size = options["batch_size"] or context.batch_size
        outer_size = self.batch_size * options["batches"]
        if self.policy:
            self.design.values |= self.policy.parameters()
            device, columns = context.class_counts.device, self.policy.columns
            self.draws = torch.zeros(context.batch_size, columns, device=device)  # of the step's batch
            self.outer_draws = torch.zeros(outer_size, columns, device=device)
        self.before_epoch = {name: value.clone() for name, value in self.design.values.items()}
        self.upper = MomentumSGD(
            self.design.values, options["upper_learning_rate"], options["upper_momentum"],
            decay=options["upper_weight_decay"],
        )  # fmt: skip
        self.fair = Objective(options["upper"], *_counts(context.validation, context))
        self.outer_train, self.outer_validation = (
            part.stream(outer_size, context.seed, f"hypergradient-{name}", True)
            for name, part in (("train", context.train), ("validation", context.validation))
        )
        self.steps_per_epoch = 0  # of the search

    def stages(self, epochs: int) -> list[base.Stage]:
        own = {"schedule": schedule} if (schedule := self.options["search_schedule"]) else {}
        search = base.Stage("search", self.options["search_epochs"], training=own)
        return [search, base.Stage("retrain", epochs, part="train+validation", fresh=True)]

    def prefix(self) -> base.Prefix:
        return base.Prefix(1, "autobalance", {**self.options, "expand": "piecewise", "take": "end", "threshold": None})

    def _policy(self) -> Policy | None:
        said = self.options["augmentation"]
        if not said:
            return None
        clusters = parametric.clusters(self.context.class_counts, self.options["cluster_size"])
        return Policy(said, clusters, self.context.train.scaled, clusters.device, self.context.seed)

    # --- θ: L_T of the step's batch -------------------------------------------------------------------------------

    def inputs(self, step: base.Step, batch: Batch) -> torch.Tensor:
        if self.policy is None:
            return batch.inputs
        draws = self.draws[: len(batch)]
        return self.policy.apply(batch.inputs, batch.labels, self.design.values, draws, relaxed=self.searching)

    def example_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return self.design.losses(logits, batch, self.multiplier, self.offset)

    def example_weights(self, step: base.Step, losses: torch.Tensor) -> torch.Tensor:
        return self.design.weights(step.batch, self.options["weights"])

    # --- α: when --------------------------------------------------------------------------------------------------

    def begin(self, stage: base.Stage, model: nn.Module) -> None:
        self.searching = stage.name == "search"
        if self.options["solver"] == "exact" and not _is_linear(model):
            raise ConfigError("autobalance: the solver exact needs a linear model; use neumann or cg")

    def begin_epoch(self, at: base.Position, model: nn.Module) -> None:
        super().begin_epoch(at, model)
        if at.stage.name == "search":
            self.steps_per_epoch = at.steps_per_epoch
            if self._coasts(at.stage_step):  # after the last step of the epoch before, and at its rate
                self.upper.prepare(self._upper_rate(at.stage_epoch - 1))
                self._coast()
            for name, value in self.design.values.items():
                self.before_epoch[name].copy_(value)

    def prepare(self, at: base.Position) -> str:
        if self.policy:
            self.draws.copy_(self.policy.draw(len(self.draws), rng(self.context.seed, "augmentation draws", at.step)))
        return self._due(at.stage_step) if at.stage.name == "search" else "inner"

    def _due(self, number: int) -> str:
        """What α does between the search's inner steps `number` − 1 and `number`; seeks batches, sets the rate.

        It coasts after each inner step since `from_epoch`; where an epoch ends, `begin_epoch` sees to that. An outer
        step comes before an inner step (outer-first), or after it (inner-first).
        """
        first, last = (self.options[name] * self.steps_per_epoch for name in ("from_epoch", "search_epochs"))
        place = number - (self.options["order"] == "inner-first")  # of the inner step that an outer one goes with
        epoch, step = divmod(place, max(1, self.steps_per_epoch))
        program = []
        if self._coasts(number) and (number % self.steps_per_epoch or number == last):
            self.upper.prepare(self._upper_rate((number - 1) // self.steps_per_epoch))
            program.append("coast")
        if first <= place < last and step % self.options["outer_every"] == 0:
            self.upper.prepare(self._upper_rate(epoch))
            an_epoch = -(-self.steps_per_epoch // self.options["outer_every"])
            outer = (epoch - self.options["from_epoch"]) * an_epoch + step // self.options["outer_every"]
            self.outer_train.seek(outer)
            self.outer_validation.seek(outer)
            if self.policy:
                generator = rng(self.context.seed, "augmentation draws", "hypergradient", outer)
                self.outer_draws.copy_(self.policy.draw(len(self.outer_draws), generator))
            program.append("outer")
        return ", ".join(program) or "inner"

    def _coasts(self, number: int) -> bool:
        return bool(self.options["coast"]) and number > self.options["from_epoch"] * self.steps_per_epoch

    def _upper_rate(self, epoch: int) -> float:
        """The rate of α in an epoch of the search; its warm-up rises once an epoch."""
        options, active = self.options, epoch - self.options["from_epoch"]
        drops = sum(epoch >= milestone for milestone in options["upper_milestones"])
        warm = min(1.0, (active + 1) / max(1, options["upper_warmup_epochs"]))
        return float(options["upper_learning_rate"] * options["upper_factor"] ** drops * warm)

    def learn(self, step: base.Step) -> None:
        if "coast" in step.program:
            self._coast()
        if "outer" in step.program:
            self._outer_step(step)

    def end(self, stage: base.Stage, model: nn.Module) -> None:
        if stage.name != "search":
            return
        total = self.options["search_epochs"] * self.steps_per_epoch
        seed = torch.tensor(stream_seed(self.context.seed, "dropout", total)) if dropout_layers(model) else None
        self.learn(base.Step(torch.tensor(total), self._due(total), model, _nothing(self.multiplier), seed))
        if self.options["take"] == "last-epoch":
            for name, value in self.design.values.items():
                value.copy_(self.before_epoch[name])
        self.design.expand_as(self.options["expand"])
        if self.options["expand"] == "fitted":
            self.log(fitted=self.design.fit())
        self._use_design()
        self.choose(model)

    # --- α: how ---------------------------------------------------------------------------------------------------

    def _coast(self) -> None:
        """An upper step without a gradient: momentum and weight decay alone."""
        self.upper.step({name: torch.zeros_like(value) for name, value in self.design.values.items()})
        self._use_design()

    def _outer_step(self, step: base.Step) -> None:
        """α ← step along dL_V/dα."""
        gradient, found = self.hypergradient(step)
        self.upper.step(gradient)
        self._use_design()
        self.log(outer_step=step.number, **self._design_now(), **found)

    def _design_now(self) -> Parameters:
        """α for the trace; of a policy the means over sub-policies and stages, (policies, operations)."""
        means = {PROBABILITY, MAGNITUDE}
        return {
            name: value.mean((1, 2)) if name in means else value.clone()
            for name, value in self.design.values.items()
            if name != OPERATION
        }

    def _use_design(self) -> None:
        if self.policy:
            self.policy.clip(self.design.values)
        for table, value in zip((self.multiplier, self.offset), self.design.tables(), strict=True):
            table.copy_(value)

    def hypergradient(self, step: base.Step) -> tuple[Parameters, dict[str, torch.Tensor]]:
        """dL_V/dα at the model as it is, on the batches at which the streams stand; and what to log."""
        parameters, design, products = base.parameters_of(step.model), self.design.values, self.options["products"]
        train, validation = (self._batches(stream) for stream in (self.outer_train, self.outer_validation))
        training = TrainingGradient(
            [self._training_loss(step, batch, number) for number, batch in enumerate(train)],
            parameters,
            design,
            keep_graphs=products == "kept" or (products == "reverse" and len(train) == 1),
            route="reverse" if products == "kept" else products,
        )
        fair = [self._validation_loss(step, batch, number) for number, batch in enumerate(validation)]
        towards = tuple(mean_gradient(fair, parameters, design)[0].values())
        space = krylov(training.hessian_product, towards, self.options["terms"])
        solution, norms = self._solved(step, train, space, towards)
        values, shares = space.spread()
        found = {
            "gradient_norm": space.length,
            "direction_norms": norms,
            "lambda_max": values[-1],
            "lambda_min": values[0],
            "share_beyond": (shares * (values > FLIPS)).sum(),
        }
        return {name: -value for name, value in training.design_product(solution).items()}, found

    def _solved(
        self, step: base.Step, train: list[Batch], space: Krylov, towards: Vector
    ) -> tuple[Vector, torch.Tensor]:
        """p ≈ H⁻¹ v; and the norms of the c_j of the Neumann series, whoever solves."""
        most = torch.stack(space.extremes()).abs().amax()
        wanted = self.options["neumann_step"]
        rate = 1 / torch.where(most > 0, most, torch.ones_like(most)) if wanted == "auto" else wanted
        solution, norms = space.neumann(rate)
        if self.options["solver"] == "cg":
            solution = space.conjugate_gradients(self.options["damping"])
        if self.options["solver"] == "exact":
            matrix = torch.stack([self._hessian(step.model, batch) for batch in train]).mean(0)
            solution = linear_head.solve(matrix, towards[0], towards[1], self.options["damping"])
        return solution, norms

    def _hessian(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """H of a linear model on a batch."""
        seen = parametric.adjusted(model(batch.inputs), *self.design.columns(batch, self.multiplier, self.offset))
        weights = self.design.weights(batch, self.options["weights"])
        multiplier, groups = self.multiplier[:, None], torch.zeros_like(batch.labels)
        if self.design.groups:
            multiplier, groups = self.multiplier, batch.groups % self.design.groups
        return linear_head.hessian(batch.inputs, seen.softmax(1), weights, multiplier, groups)

    def _batches(self, stream: Stream) -> list[Batch]:
        """What a stream stands at, in batches of one step's size."""
        taken = stream.current()
        pieces = (values.split(self.batch_size) for values in (taken.inputs, taken.labels, taken.groups, taken.rows))
        return [Batch(*piece) for piece in zip(*pieces, strict=True)]

    def _training_loss(self, step: base.Step, batch: Batch, number: int) -> JointLoss:
        def loss(parameters: Parameters, design: Parameters) -> torch.Tensor:
            shown = replace(batch, inputs=self._augmented(batch, design, number)) if self.policy else batch
            logits = self.logits_at(step, shown, parameters, True, f"hypergradient {number}")
            losses = self.design.losses(logits, batch, *self.design.tables(design))
            return self.design.weights(batch, self.options["weights"]) @ losses

        return loss

    def _augmented(self, batch: Batch, design: Parameters, number: int) -> torch.Tensor:
        assert self.policy is not None
        draws = self.outer_draws[number * self.batch_size :][: len(batch)]
        return self.policy.apply(batch.inputs, batch.labels, design, draws, relaxed=True)

    def _validation_loss(self, step: base.Step, batch: Batch, number: int) -> JointLoss:
        def loss(parameters: Parameters, design: Parameters) -> torch.Tensor:
            return self.fair(self.logits_at(step, batch, parameters, True, f"validation {number}"), batch)

        return loss

    # --- state ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        mine = {"design": self.design.values, "before_epoch": self.before_epoch, "upper": self.upper.state()}
        tables = {"multiplier": self.multiplier, "offset": self.offset, "steps_per_epoch": self.steps_per_epoch}
        return {**super().state(), **mine, **tables}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        for name, value in self.design.values.items():
            value.copy_(state["design"][name])
            self.before_epoch[name].copy_(state["before_epoch"][name])
        self.upper.load_state(state["upper"])
        self.multiplier.copy_(state["multiplier"])
        self.offset.copy_(state["offset"])
        self.steps_per_epoch = state["steps_per_epoch"]


def _cells(context: base.RunContext, by: str) -> torch.Tensor:
    """Training examples of each class (K,), or of each class and group (K, G) with `by` "cell"."""
    if by == "cluster":
        return context.class_counts
    groups = groups_of(context.class_counts, context.group_counts)
    if groups == 1:
        raise ConfigError("autobalance: by cell needs groups, but the groups of this set are its classes; by cluster")
    return context.group_counts.view(-1, groups)


def _counts(part: InputPart, context: base.RunContext) -> list[torch.Tensor]:
    """Examples of each class and of each group of a part. -> (K,), (groups,)."""
    known = ((part.labels, context.class_counts), (part.groups, context.group_counts))
    return [torch.bincount(values, minlength=len(counts)).to(counts) for values, counts in known]


def _is_linear(model: nn.Module) -> bool:
    return [name for name, _ in model.named_parameters()] == ["head.weight", "head.bias"]


def _nothing(like: torch.Tensor) -> Batch:
    """No example: an outer step after the last inner one has no batch of its own."""
    none = torch.zeros(0, dtype=torch.int64, device=like.device)
    return Batch(like[:0], none, none, none)
