"""Reports: one plain dict of schema ``rehost.report/1`` in, four renderings out.

``write`` puts report.json, report.html and junit.xml into a folder, each one complete or not there.
``compare`` says which findings are new, gone or the same since an earlier report. Nothing here talks
to a provider, and nothing here decides: a rendering shows what the dict says.
"""

from toolkit.report.compare import compare
from toolkit.report.html import render_html
from toolkit.report.junit import render_junit
from toolkit.report.markdown import render_markdown
from toolkit.report.schema import SCHEMA, ReportDoc, json_schema, validate
from toolkit.report.write import write

__all__ = [
    "SCHEMA",
    "ReportDoc",
    "compare",
    "json_schema",
    "render_html",
    "render_junit",
    "render_markdown",
    "validate",
    "write",
]
