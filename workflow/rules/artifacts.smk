# Figures and tables, each from its notebook.
# OUTPUTS: figures/{scale}/{paper}/{artifact}.{pdf,png,csv,ipynb,json}
# TARGETS: tdr (a paper), tdr_fig5 (one artifact), both at the configured scale; local_NAME, local_NAME_compare

# The receipt beside an artifact says from what it was made; `stale` has a file if that is not what it would be made from
# today. So times of files decide nothing, and a rendering that failed is tried again (planning/notes.py).
for artifact in flow.artifacts():

    rule:
        """Render one figure or table from its records: the numbers that it shows, the executed notebook, a receipt."""
        name:
            f"render_{artifact.name}"
        input:
            sources=ancient(artifact.sources),
            records=artifact.records,
            stale=artifact.notes,
        output:
            png=report(update(f"{artifact.stem}.png"), **artifact.in_report("picture")),
            csv=report(update(f"{artifact.stem}.csv"), **artifact.in_report("numbers")),
            others=update([f"{artifact.stem}.{ending}" for ending in ("pdf", "ipynb", "json")]),
        log:
            f"logs/render/{{scale}}/{artifact.name}.log",
        wildcard_constraints:
            scale=artifact.scales,
        resources:
            mem_mb=2000,
        params:
            rendering=artifact.rendering_digest,
            arguments=artifact.arguments,
        shell:
            "reweigh render {params.arguments} > {log} 2>&1"

    rule:
        """One artifact at the configured scale."""
        name:
            artifact.name
        input:
            artifact.target,
        localrule: True


for paper in flow.papers:

    rule:
        """All artifacts of one paper at the configured scale."""
        name:
            flow.target_of(paper)
        input:
            flow.of_paper(paper),
        localrule: True
