"""Sphinx settings of the site: `make docs`. Warnings are errors there."""

import os
import sys
from pathlib import Path

import pilotcut

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))
# Notebooks call `pilotcut` as a shell does, and their outputs are no terminals: kernels say they
# were (FORCE_COLOR), and what moves on a terminal would be a thousand lines here.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["TTY_COMPATIBLE"] = "0"

project = "pilotcut"
author = "The pilotcut contributors"
project_copyright = author
version = release = pilotcut.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "mathml",
    "repository_pages",
    "command_line",
    "yaml_reference",
]
exclude_patterns = ["_build", ".jupyter_cache", "extensions", "templates"]
templates_path = ["templates"]

# Prose: Markdown with formulas between dollars and a link for each heading.
myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 4
default_role = "py:obj"

# Notebooks run when they have changed; what they printed is kept beside the site (make docs).
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / ".jupyter_cache")
nb_execution_in_temp = True
nb_execution_timeout = 240
nb_execution_raise_on_error = True
nb_merge_streams = True

# Names: a page each, types from annotations.
autosummary_generate = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# A reference to a name of ours has to resolve. Inventories of other projects are not fetched, so
# their names are set as code, and so are words between single backticks that are no names.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!pilotcut\.).*"),
    # Types of signatures that are no public names: the module's source says what they are.
    ("py:class", r"pilotcut\.\w+\..*"),
]

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "pilotcut"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5d7a", "color-brand-content": "#0b5d7a"},
    "dark_css_variables": {"color-brand-primary": "#7cc7e6", "color-brand-content": "#7cc7e6"},
}
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
