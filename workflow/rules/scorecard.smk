# Verdicts: each published number and each claim beside ours.
# OUTPUTS: results/{scale}/scorecard.{csv,md,html,json}
# TARGETS: scorecard
SHOWN = {"caption": "../report/scorecard.rst", "category": "scorecard"}


rule score:
    """Compare the records of a scale with the published numbers, and decide the claims."""
    input:
        records=flow.scored_records,
        published=ancient(flow.published()),
        stale=flow.scorecard_notes,
    output:
        csv=report(update("results/{scale}/scorecard.csv"), labels={"scale": "{scale}", "as": "numbers"}, **SHOWN),
        page=report(update("results/{scale}/scorecard.html"), labels={"scale": "{scale}", "as": "page"}, **SHOWN),
        text=update("results/{scale}/scorecard.md"),
        receipt=update("results/{scale}/scorecard.json"),
    log:
        "logs/scorecard/{scale}.log",
    resources:
        mem_mb=2000,
    params:
        scoring=flow.scoring_digest,
    shell:
        "reweigh scorecard --scale {wildcards.scale} > {log} 2>&1"


rule scorecard:
    """The scorecard of the configured scale."""
    input:
        flow.scorecard(),
    localrule: True
