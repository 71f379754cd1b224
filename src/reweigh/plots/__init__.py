"""Figures and tables in one style. A kind of figure is one file, with two functions:

    rows(material, ...)         # the numbers, as a data frame: what the csv holds, nothing drawn yet
    draw(material, rows, ...)   # the picture of these rows, as a Figure

    from reweigh.analysis import tables
    from reweigh.plots import by_setting

    material = tables.of_artifact("paper", "tdr", "fig5")
    rows = by_setting.rows(material)
    by_setting.draw(material, rows).save("figures/paper/tdr/fig5")          # .pdf .png .csv

Every number in a figure is a line of its csv, with the runs that feed it. What only one paper shows is in
`papers/<paper>`; the other files name no method.
"""
