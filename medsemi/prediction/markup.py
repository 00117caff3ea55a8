"""HTML elements from plain text: whatever a text holds, it is escaped when the page is written."""

from __future__ import annotations

from xml.etree import ElementTree

Element = ElementTree.Element
Child = str | Element | None


def tag(name: str, /, *children: Child, **attributes: str) -> Element:
    """Make an element.

    Args:
        name: of the element, such as `td`.
        children: texts and elements, in their order; None is left out.
        attributes: of the element; `class_` gives `class`, `data_status` gives `data-status`.
    """
    element = Element(
        name, {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    )
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif child is not None:
            _append_text(element, child)
    return element


def to_html(*elements: Element) -> str:
    """Write elements, one after the other.

    Args:
        elements: from `tag`.
    """
    return "\n".join(
        ElementTree.tostring(element, encoding="unicode", method="html") for element in elements
    )


def _append_text(element: Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text
