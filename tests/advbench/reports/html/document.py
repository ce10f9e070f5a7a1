"""A page as a parser sees it."""

from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "img", "br", "line", "circle", "rect", "polyline", "polygon"}


class Document(HTMLParser):
    """Elements with their attributes, the text of each, and whether they nest."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        self.faults += [f"{tag}: {name} twice" for name, times in Counter(names).items() if times > 1]
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def shape(self):
        """Which elements with which attributes there are, and how many of each."""
        return Counter((tag, tuple(sorted(attributes))) for tag, attributes in self.elements)

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def text(self):
        return "".join(data for _, data in self.texts)
