"""Words that the glossary replaced."""

import re

RETIRED = re.compile(
    r"\b(stands?|standing|stood|withstands?|withstood|fell|fallen|fool(?:s|ed|ing)?|craft(?:s|ed|ing)?|climb(?:s|ed|ing)?"
    r"|slopes?|dwindl\w+|told|afresh|unaware)\b",
    re.IGNORECASE,
)
