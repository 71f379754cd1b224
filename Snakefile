# The workflow is in workflow/Snakefile. An included file never supplies the default target, so this one names it.


include: "workflow/Snakefile"


rule replicate:
    """Make every artifact of the configured papers and scale, and the scorecard."""
    default_target: True
    input:
        rules.all.input,
