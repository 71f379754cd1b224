# Raw data and splits.
# OUTPUTS: data/raw/{dataset}/SOURCE.json, data/splits/{experiment}/{setting}/seedN.{npz,json},
#          data/raw/waterbirds/resnet18.{npy,json}, which nothing else asks for
# TARGETS: waterbirds_features
# The wildcard `experiment` is SCALE/PAPER/EXPERIMENT.


rule fetch:
    """Get the raw files of a data set and check their digests; the source file is written last."""
    input:
        stale=flow.source_notes,
    output:
        source=update("data/raw/{dataset}/SOURCE.json"),
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


# No run asks for it: without archive and weights, runs on Waterbirds take the features that the mirror has.
rule waterbirds_features:
    """Make the paper's features of Waterbirds from the official archive; runs then take them."""
    output:
        features="data/raw/waterbirds/resnet18.npy",
        about="data/raw/waterbirds/resnet18.json",
    log:
        "logs/features/waterbirds.log",
    resources:
        mem_mb=4000,
    shell:
        "reweigh features waterbirds > {log} 2>&1"


for batch in flow.split_batches():

    rule:
        """Draw the splits of one setting, one for each seed: which examples train, guide and test."""
        name:
            f"split_{batch.name}"
        input:
            raw=batch.split_inputs,
            stale=batch.stale_splits,
        output:
            splits=update(batch.splits),
            reports=update(batch.split_reports),
        log:
            f"logs/split/{{experiment}}/{{setting}}/{batch.name}.log",
        wildcard_constraints:
            experiment=batch.pattern,
        resources:
            mem_mb=2000,
        params:
            split=batch.recipe_digest,
            names=batch.split_names,
        shell:
            "reweigh split {params.names} > {log} 2>&1"
