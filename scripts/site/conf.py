"""Settings of the documentation site. Nothing in its pages is loaded from a network."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

import dmft  # noqa: E402

project = "dmft"
author = "The dmft developers"
copyright = "The dmft developers"
version = release = dmft.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "formulas",
    "docstrings",
]
root_doc = "index"
smartquotes = False  # options begin with two dashes
exclude_patterns = [f"gallery/*.{ending}" for ending in ("ipynb", "py", "md5", "zip", "json")]
highlight_language = "none"  # of indented blocks; fenced ones name theirs

# Pages and the notebook.
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
nb_execution_mode = "off"  # notebooks come executed, see build.py
nb_merge_streams = True

# The reference.
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False
toc_object_entries = False

# The gallery: scripts run when they have changed.
sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "scripts" / "gallery"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "remove_config_comments": True,
    "write_computation_times": False,
    "image_srcset": ["2x"],
    "thumbnail_size": (560, 340),
    "within_subsection_order": "FileNameSortKey",
    "notebook_extensions": {},
}
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "pydata_sphinx_theme"
html_title = "dmft"
html_context = {"default_mode": "auto"}  # light or dark as the browser is
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_search_summary = False  # would be fetched, which files opened without a server cannot
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "gallery/index": []}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": [], "gallery/index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "back_to_top_button": True,
    "pygments_light_style": "default",
    "pygments_dark_style": "github-dark",
}
