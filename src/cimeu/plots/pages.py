"""Pages that open offline: one template with the header, the colours of both schemes and the style of tables.

A page extends `page.html` and fills its blocks `kind`, `title`, `content`, `footer`, and `style` for rules of its own.
"""

from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined


def page_environment(package: str, name: str) -> Environment:
    """Templates `page.html`, shared by all pages, and `name`, a file of `package` that extends it.

    Whatever is put into them is escaped, and a name that a template lacks is an error.
    """
    sources = {
        "page.html": files("cimeu.plots").joinpath("page.html").read_text(encoding="utf-8"),
        name: files(package).joinpath(name).read_text(encoding="utf-8"),
    }
    return Environment(
        loader=DictLoader(sources),
        autoescape=True,
        trim_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
