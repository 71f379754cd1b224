# What has been run, packed for others: a Workflow Run RO-Crate.
# OUTPUTS: crates/SCALE.zip
# TARGETS: crate


# No output, so that each call packs what is there now: most of what is packed (code, config) is nobody's input.
rule crate:
    """Pack records, figures, scorecard, code and config of the configured scale, and where its data are from."""
    input:
        made=flow.audited(),
    log:
        f"logs/crate/{flow.scale}.log",
    resources:
        mem_mb=2000,
    params:
        scale=flow.scale,
    shell:
        "reweigh crate --scale {params.scale} --to crates/{params.scale}.zip > {log} 2>&1"
