"""Pages that open offline: one template with the header, the colours of both schemes and the style of tables.

A page extends `page.html` and fills its blocks `kind`, `title`, `content`, `footer`, and `style` for rules of its own;
`parts.html` holds what several pages share. Pages that are tables below an answer in words are made by `tables_page`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from cimeu.plots import charts
from cimeu.tables import Interval, Table, html_text, span, to_html


@dataclass(frozen=True)
class ForestRow:
    """A line of a forest plot: a name, its UAR, and where it stands."""

    name: str
    interval: Interval
    first: bool = False
    """What the page is about, in bold."""
    part: bool = False
    """Belongs to the line above."""
    gap: bool = False
    """A new group of lines begins."""

    @property
    def words(self) -> str:
        return span(self.interval)


def page_environment(package: str, name: str) -> Environment:
    """Templates `page.html` and `parts.html`, shared by all pages, and `name`, a file of `package` that extends them.

    Whatever is put into them is escaped, and a name that a template lacks is an error. The filter `code` sets names
    between backticks as code; `whisker` and `scale` draw.
    """
    sources = {
        "page.html": files("cimeu.plots").joinpath("page.html").read_text(encoding="utf-8"),
        "parts.html": files("cimeu.plots").joinpath("parts.html").read_text(encoding="utf-8"),
        name: files(package).joinpath(name).read_text(encoding="utf-8"),
    }
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        trim_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = lambda text: Markup(html_text(text))
    environment.globals |= {"whisker": _whisker, "scale": _scale}
    return environment


def tables_page(
    title: str,
    tables: Sequence[Table],
    *,
    kind: str,
    footer: str,
    answer: Sequence[str] = (),
    cautions: Sequence[str] = (),
    rows: Sequence[ForestRow] = (),
    chance: float = 0.0,
    drawings: Sequence[str] = (),
    folded: Mapping[str, Table] | None = None,
) -> str:
    """A page of tables below what they say.

    Args:
        title: heading of the page.
        tables: shown as they are; each scrolls inside itself.
        kind: one word for the header.
        footer: limits of use.
        answer: what the tables say, in sentences.
        cautions: what must be known before a figure is used.
        rows: a forest plot between the answer and the tables.
        chance: UAR of guessing, for the forest plot.
        drawings: SVG of our own.
        folded: tables that open on demand, by what they hold.
    """
    template = page_environment("cimeu.plots", "tables.html").get_template("tables.html")
    return template.render(
        title=title,
        kind=kind,
        footer=footer,
        answer=answer,
        cautions=cautions,
        rows=rows,
        chance=chance,
        drawings=[Markup(drawing) for drawing in drawings],
        tables=[Markup(to_html(table)) for table in tables],
        folded=[(heading, Markup(to_html(table))) for heading, table in (folded or {}).items()],
    )


def _whisker(row: ForestRow, chance: float) -> Markup:
    interval = row.interval
    return Markup(charts.whisker(interval.value, interval.low, interval.high, chance=chance))


def _scale(ends: tuple[str, str, str], title: str = "") -> Markup:
    return Markup(charts.scale(ends, title))
