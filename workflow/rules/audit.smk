# The chain from every figure back to the raw bytes, link by link.
# MAKES: results/{scale}/audit.json, though not as an output
# TARGETS: audit


# No output, so that each call looks anew: an audit that was passed yesterday says nothing of today. And Snakemake would
# delete the output of an audit that fails, which is when its report is wanted most.
rule audit:
    """Check every link of the configured scale; fail if one is stale, broken or missing."""
    input:
        made=flow.audited(),
    log:
        f"logs/audit/{flow.scale}.log",
    resources:
        mem_mb=2000,
    params:
        scale=flow.scale,
        report=flow.audit(),
    shell:
        "reweigh audit --scale {params.scale} --report {params.report} > {log} 2>&1"
