# All that has been run, packed for others: a Workflow Run RO-Crate.
# OUTPUTS: crates/SCALE.zip
# TARGETS: crate


# Without an output every call packs again: most of what is packed (code, config) is no input.
rule crate:
    """Pack records, figures, scorecard, code and config of the configured scale, and the sources of its data."""
    input:
        files=flow.everything(),
    log:
        f"logs/crate/{flow.scale}.log",
    resources:
        mem_mb=2000,
    params:
        scale=flow.scale,
    shell:
        "reweigh crate --scale {params.scale} --to crates/{params.scale}.zip > {log} 2>&1"
