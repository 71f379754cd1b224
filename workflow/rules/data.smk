# Raw data and splits.
# OUTPUTS: data/raw/{dataset}/SOURCE.json, data/splits/{scale}/{paper}/{experiment}/{setting}/seedN.{npz,json}


rule fetch:
    """Put the raw files of a data set in place and check their digests; the receipt is written last."""
    output:
        receipt=update("data/raw/{dataset}/SOURCE.json"),
    log:
        "logs/fetch/{dataset}.log",
    wildcard_constraints:
        dataset=flow.datasets(),
    retries: 2
    localrule: True
    resources:
        mem_mb=1000,
    params:
        content=flow.content_digest,
    shell:
        "reweigh fetch {wildcards.dataset} > {log} 2>&1"


for pack in flow.packs():

    rule:
        """Draw the splits of one setting: which examples train, guide and test, for each seed."""
        name:
            f"split_{pack.name}"
        input:
            raw=pack.drawing_inputs,
        output:
            splits=update(pack.splits),
            reports=update(pack.split_reports),
        log:
            f"logs/split/{{protocol}}/{{setting}}/{pack.name}.log",
        wildcard_constraints:
            protocol=pack.pattern,
        resources:
            mem_mb=2000,
        params:
            split=pack.recipe_digest,
            runs=pack.split_names,
        shell:
            "reweigh split {params.runs} > {log} 2>&1"
