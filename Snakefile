# The workflow is in workflow/Snakefile. The default target must stand here: Snakemake takes none from an included file.


include: "workflow/Snakefile"


rule replicate:
    """Make every artifact of the configured papers and scale, and the scorecard."""
    default_target: True
    input:
        rules.all.input,
