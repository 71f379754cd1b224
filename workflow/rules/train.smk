# Training: one job trains some seeds of one method at a setting, or of all its methods (config keys jobs, seeds_per_job,
# runs_at_once, time_budget).
# OUTPUTS: results/{experiment}/{setting}/{method}/seedN.json, beside it seedN.npz for methods with traces
# The wildcard `experiment` is SCALE/PAPER/EXPERIMENT.


# Records are `update`: Snakemake does not delete them before the job, which trains only those that are missing or stale.
# The log of an attempt that fails, or is killed, stays beside the next one's (planning/attempts.py).
# If the job fails, Snakemake restores all of them; `reweigh train` sees to it that finished ones are not lost
# (training/snakemake_backups.py). `stale` has a file for each record that is stale by its own digests.
for batch in flow.training_batches():

    rule:
        """Train one method, or all, on the splits of one setting; one record for each method and seed."""
        name:
            f"train_{batch.name}"
        input:
            data=batch.training_inputs,
            stale=batch.stale_notes,
        output:
            records=update(batch.records),
        log:
            batch.log,
        wildcard_constraints:
            experiment=batch.pattern,
        retries: flow.retries
        threads: batch.cores
        resources:
            gpu=batch.gpus,
            mem_mb=4000,
        params:
            spec=batch.spec_digest,
            code=batch.code_digest,
            split=batch.split_digest,
            arguments=flow.training_arguments(batch),
        shell:
            "reweigh train --log {log} {params.arguments} > {log} 2>&1"
