"""SentencePiece models in XLM-R's numbering, and fairseq's ``dict.txt``."""
