"""Parse XML and navigate it by local names, ignoring namespaces; errors include the line.

root = parse_xml(data)          local(root.tag) == "article" (JATS) or "TEI" (GROBID)
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.entities import html5

_CC = re.compile(r"creativecommons\.org/licenses/(by(?:-[a-z]{2})*)/([0-9.]+)")
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
XML_ID = "{http://www.w3.org/XML/1998/namespace}id"


class Unreadable(ValueError):
    """A paper that cannot be read; `reason` groups errors for counting, `detail` is this one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def parse_xml(data: bytes) -> ET.Element:
    """Parse the root element. HTML entities (&nbsp;), which JATS takes from its DTD, are defined.

    External files are never opened, and expat rejects entity expansion attacks (billion laughs).

    Raises:
        Unreadable: not well-formed; states line and column.
    """
    parser = ET.XMLParser()
    parser.entity.update({name.rstrip(";"): text for name, text in html5.items()})
    try:
        parser.feed(data)
        return parser.close()
    except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: unknown encoding
        raise Unreadable("unreadable XML", str(error)) from None


def local(tag: object) -> str:
    """A tag without its namespace; "" for a comment or a processing instruction."""
    return tag.rsplit("}", 1)[-1] if isinstance(tag, str) else ""


def find_all(root: ET.Element, *names: str) -> Iterator[ET.Element]:
    """Elements with any of these local names at any depth, in document order."""
    return (element for element in root.iter() if local(element.tag) in names)


def find(root: ET.Element | None, *names: str) -> ET.Element | None:
    """The first such element, or None."""
    return None if root is None else next(find_all(root, *names), None)


def text_of(element: ET.Element | None) -> str:
    """All text inside the element, with single spaces."""
    return "" if element is None else " ".join("".join(element.itertext()).split())


def year_of(text: str) -> int | None:
    """The first year in a text, e.g. in "2019a", "2019-03-01" or "(2019)"."""
    found = re.search(r"(?<!\d)(?:1[5-9]|20)\d\d(?!\d)", text)
    return int(found[0]) if found else None


def license_of(root: ET.Element) -> str | None:
    """The Creative Commons licence that a paper links to, e.g. "CC-BY-4.0", or None."""
    for element in find_all(root, "license", "licence", "license_ref"):
        text = " ".join((*element.itertext(), *element.attrib.values()))
        if found := _CC.search(text):
            return f"CC-{found[1].upper()}-{found[2]}"
        if "creativecommons.org/publicdomain/zero" in text:
            return "CC0-1.0"
    return None
