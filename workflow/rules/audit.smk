# The chain from every figure back to the raw bytes, link by link.
# OUTPUTS: results/{scale}/audit.json
# TARGETS: audit
rule check:
    """Recompute every digest of a scale's figures, records, splits and raw files; fail if one does not hold."""
    input:
        made=flow.audited,
    output:
        report="results/{scale}/audit.json",
    log:
        "logs/audit/{scale}.log",
    resources:
        mem_mb=2000,
    shell:
        "reweigh audit --scale {wildcards.scale} --report {output.report} > {log} 2>&1"


rule audit:
    """The audit of the configured scale."""
    input:
        flow.audit(),
    localrule: True
