"""Raw text: reads collections in many formats, writes one file per tag, and finds errors in the text."""
