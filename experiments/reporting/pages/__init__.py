"""The report as pages: one interactive page, and a summary in Markdown.

The page's plot and tables are drawn by a script of our own. A library was tried for the plot:
Vega-Lite's bundle adds 898 kB to every page (ours is 24 kB), its points cannot be reached by
keyboard, and its colours do not follow the dark scheme or the printer. So ours stays.
"""
