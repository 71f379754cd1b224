# Training: one job takes all seeds of a cell (config keys seeds_per_job, runs_at_once, time_budget).
# OUTPUTS: results/{scale}/{paper}/{experiment}/{setting}/{method}/seedN.json, beside it seedN.npz for methods with traces


# Records are `update`: they are not deleted before a job, and the job trains those that are missing or stale, and only
# those. `stale` lists a note for each record that is stale by its own word. Checkpoints lie in .reweigh/checkpoints.
# If an updating job fails, Snakemake puts the files of before back. Here the records that it finished shall stay: they
# are whole or not there, and a job that is started again (time is up: code 75) would otherwise train them once more.
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
        retries: flow.retries
        threads: flow.cores
        resources:
            gpu=flow.gpus,
            mem_mb=4000,
        params:
            spec=pack.spec_digest,
            code=pack.code_digest,
            split=pack.split_digest,
            arguments=pack.training_arguments,
        shell:
            "rm -f $(printf '.snakemake/backups/%s ' {output}); reweigh train {params.arguments} > {log} 2>&1"
