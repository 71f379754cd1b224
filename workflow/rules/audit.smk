# The chain from every figure back to the raw bytes, link by link.
# OUTPUTS: results/{scale}/audit.json, though Snakemake does not know it as an output
# TARGETS: audit


# Without an output every call audits again: yesterday's result says nothing of today. And Snakemake deletes the outputs
# of a job that fails, but the report of a failed audit is the one that is needed.
rule audit:
    """Check every link of the configured scale; fail if one is stale, broken or missing."""
    input:
        files=flow.everything(),
    log:
        f"logs/audit/{flow.scale}.log",
    resources:
        mem_mb=2000,
    params:
        scale=flow.scale,
        report=flow.audit_report(),
    shell:
        "reweigh audit --scale {params.scale} --report {params.report} > {log} 2>&1"
