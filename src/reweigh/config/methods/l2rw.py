"""The card of learning to reweight examples."""

from reweigh.config.cards import BenchEntry, Card, Look
from reweigh.config.methods.meta_set import MetaSet, needs
from reweigh.config.specs import Frozen


class Options(Frozen):
    meta_set: MetaSet


CARD = Card(
    options=Options,
    examples=({"meta_set": "validation"}, {"meta_set": "target"}),
    follows=lambda options: {"target": 1} if options["meta_set"] == "target" else {},
    needs=needs,
    cost=2.8,
    bench=BenchEntry("L2RW", {"meta_set": "validation"}),
    look=lambda options: Look("#D55E00", "v", hollow=options["meta_set"] == "target"),
)
