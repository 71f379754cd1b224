# Training: one job takes all seeds of a cell (config key seeds_per_job), one after the other.
# OUTPUTS: results/{scale}/{paper}/{experiment}/{setting}/{method}/seedN.json, beside it seedN.npz for methods with traces


# Records are `update`: they are not deleted before a job, and the job trains those that are missing or stale, and only
# those. `stale` lists a note for each record that is stale by its own word. Checkpoints lie in .reweigh/checkpoints.
for pack in flow.packs():

    rule:
        """Train a method on the splits of one setting, one record a seed."""
        name:
            f"train_{pack.name}"
        input:
            data=pack.training_inputs,
            stale=pack.stale,
        output:
            records=update(pack.records),
        log:
            f"logs/train/{{protocol}}/{{setting}}/{{method}}/{pack.name}.log",
        wildcard_constraints:
            protocol=pack.pattern,
        threads: 1
        resources:
            gpu=flow.gpus,
            mem_mb=4000,
        params:
            spec=pack.spec_digest,
            code=pack.code_digest,
            split=pack.split_digest,
            runs=pack.runs,
        shell:
            "reweigh train {params.runs} > {log} 2>&1"
